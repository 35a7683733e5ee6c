"""Migrations of the app; none makes a table."""
