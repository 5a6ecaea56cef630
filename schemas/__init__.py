"""The contract: what crosses a process border."""
