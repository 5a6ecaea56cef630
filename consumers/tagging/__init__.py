"""Image arrivals become stored tags."""
