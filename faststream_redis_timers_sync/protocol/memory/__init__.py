"""Timers in memory, which answer operations without a server."""
