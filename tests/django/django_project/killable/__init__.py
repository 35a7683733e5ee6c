"""SQLite as a database of Django's, whose connections can be found dead."""
