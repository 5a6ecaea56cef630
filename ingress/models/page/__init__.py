"""What the page's own routes take and give."""
