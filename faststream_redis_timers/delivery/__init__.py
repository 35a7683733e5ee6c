"""What a subscriber decides about its timers; it touches no server and no event loop."""
