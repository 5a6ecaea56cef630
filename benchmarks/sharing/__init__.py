"""What one client can take from the others: a module per kind, a ratio in one run each."""
