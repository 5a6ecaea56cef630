"""Keys, sessions and signed links."""
