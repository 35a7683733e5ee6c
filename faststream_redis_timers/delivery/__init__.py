"""A subscriber's decisions about its timers, without server and event loop."""
