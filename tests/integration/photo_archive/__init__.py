"""Tests of the command on real servers."""
