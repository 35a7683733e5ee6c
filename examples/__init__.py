"""Runnable examples, and the server that they and the tests use."""
