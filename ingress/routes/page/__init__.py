"""What the page at `/` is made of, and what only it asks for."""
