"""Reading for routes: search, language, paths, near-duplicates."""
