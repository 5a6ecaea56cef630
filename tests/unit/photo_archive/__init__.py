"""Tests of photo_archive."""
