"""The guarded HTTP client: address table, resolver, pinned connections."""
