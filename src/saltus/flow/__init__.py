"""Gradient flow, the continuous-time limit: solving y' = v(y) for ensembles."""
