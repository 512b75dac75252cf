"""Which detector finds leaps? Labelled curves, a scoring rule, and baselines to compare with.

Read `curves.py` (what is labelled), `scoring.py` (what counts as found) and `detectors.py` (who
competes, and how).
"""
