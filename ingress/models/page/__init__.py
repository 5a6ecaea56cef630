"""Models of what the page needs beyond single images, queries and jobs."""
