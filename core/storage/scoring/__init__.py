"""Re-scoring after a change of labels, previews, and the models that run."""
