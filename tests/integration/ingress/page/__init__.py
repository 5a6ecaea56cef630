"""What the page is served by, and how people enter it."""
