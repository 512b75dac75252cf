"""How it runs: ensembles of seeds, optimisers, the loop and its processes."""
