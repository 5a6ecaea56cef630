"""Tests of core.relevance."""
