"""What benchmarks share: archives, receivers, peers, reports."""
