"""Groups of seeds side by side: who is compared, when they leap, what else changes, one page.

Read `groups.py` (who), `compare.py` (the comparison as data) and `page.py` (how it is shown).
"""
