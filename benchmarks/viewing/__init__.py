"""What the page costs a browser, row by row."""
