"""Tests of an archive whose Kafka is three brokers."""
