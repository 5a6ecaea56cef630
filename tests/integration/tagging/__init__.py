"""Re-scoring, curation and reuse of embeddings on a real PostgreSQL."""
