"""Routes about labels and the words that name them."""
