"""The best image per set of labels, and the exact ranking beside it."""
