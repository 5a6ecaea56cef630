"""Benchmarks, side by side with other projects; pytest does not collect them."""
