"""Tests of the producers without Kafka, PostgreSQL or a disk."""
