"""How it runs: ensembles of seeds, optimisers, the loop and its processes."""

# An optimiser is known by its kind once it is imported.
from saltus.training import adafactor as adafactor
from saltus.training import muon as muon
from saltus.training import norm_sgd as norm_sgd
