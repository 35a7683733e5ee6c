"""Timers in memory, which run operations without a server."""
