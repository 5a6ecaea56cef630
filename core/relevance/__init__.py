"""Find the labels that a text names and the image that answers best; pure functions, no I/O."""
