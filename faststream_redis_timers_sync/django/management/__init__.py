"""The commands of ``manage.py``; Django finds them by this package's name."""
