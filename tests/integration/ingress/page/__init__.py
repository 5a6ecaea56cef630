"""Routes that the page needs, on a real database."""
