"""How it runs: ensembles of seeds, optimisers, the loop and its processes."""

from saltus.training import muon as muon  # an optimiser is known by its kind once it is imported
