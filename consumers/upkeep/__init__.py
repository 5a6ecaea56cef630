"""What must be done whatever runs: pruning, folding, repair."""
