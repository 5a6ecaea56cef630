"""Pixels to embeddings to tags."""
