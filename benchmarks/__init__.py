"""Measurements, side by side with the peers; never collected as tests."""
