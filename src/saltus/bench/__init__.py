"""`make bench`: what speed there is, measured against what one would use instead."""
