"""Publishers: what makes timers of messages."""
