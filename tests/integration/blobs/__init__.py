"""Tests of core.blobs on a real file system and database."""
