"""Migrations of the app; none creates a table."""
