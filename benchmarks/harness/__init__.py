"""Code that several benchmarks use: archives, receivers, peers, reports."""
