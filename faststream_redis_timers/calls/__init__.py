"""Everything that uses redis-py's connections."""
