"""What a subscriber decides about its timers; it touches no clock, no server and no event loop."""
