"""Routes about the state of the archive and its work."""
