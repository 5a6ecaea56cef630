"""Pages of text: which pictures may be one, and what the lines on it look like."""
