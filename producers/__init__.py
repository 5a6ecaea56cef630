"""The write side: one module per topic written from outside."""
