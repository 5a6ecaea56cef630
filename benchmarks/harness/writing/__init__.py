"""Tagging processes without pictures, model and Kafka: batches made before, written as always."""
