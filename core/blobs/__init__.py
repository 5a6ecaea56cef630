"""Image bytes by URI, bounded in size and in number."""
