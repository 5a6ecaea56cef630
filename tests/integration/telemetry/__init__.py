"""Integration tests of `core.telemetry`."""
