"""Statistics over seeds: intervals, times to a leap with censored seeds, comparisons, power.

`survival.py` gathers what concerns times; docs/statistics.md says when to believe what.
"""
