"""What routes read: search, language, paths, near-duplicates."""
