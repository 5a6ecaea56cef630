"""Callback events become signed webhooks."""
