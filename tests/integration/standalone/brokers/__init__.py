"""Tests of three embedded brokers as one cluster."""
