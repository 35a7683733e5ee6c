"""Subscribers: claiming due timers and handing them to handlers."""
