"""Preference records: reading, writing, batching, and an embedded world that makes them."""
