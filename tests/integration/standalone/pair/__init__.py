"""Two PostgreSQL servers, of which one leads."""
