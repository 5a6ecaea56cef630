"""Routes about photos."""
