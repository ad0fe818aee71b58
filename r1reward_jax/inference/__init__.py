"""What the Python API is made of: loading, settings, pairs in both orders, ranking."""
