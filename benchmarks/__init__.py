"""Measures this library beside others, in one run on one machine."""
