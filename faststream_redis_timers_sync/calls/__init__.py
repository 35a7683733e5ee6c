"""All that touches redis-py's connections."""
