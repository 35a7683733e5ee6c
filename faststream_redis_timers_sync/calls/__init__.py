"""All code that uses redis-py's connections."""
