"""Tests of core.language."""
