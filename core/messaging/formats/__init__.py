"""What producers that are not ours put on a topic."""
