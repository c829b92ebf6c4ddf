"""Charts of runs, losses and ablations."""
