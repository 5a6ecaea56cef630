"""Request and response models of the HTTP API; none is published as an event."""
