"""Benchmarks that `docs/scaling.md` stands on: that they run, and measure what they say."""
