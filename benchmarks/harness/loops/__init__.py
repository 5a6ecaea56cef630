"""The consumer loops that benchmarks.runtime compares, each run in a process of its own."""
