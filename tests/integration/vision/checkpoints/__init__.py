"""Tests of the ways in which weights come."""
