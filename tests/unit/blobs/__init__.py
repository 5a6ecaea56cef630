"""Tests of naming, kinds and the blob store, without a disk."""
