"""Images with their tags, embeddings, bytes and jobs."""
