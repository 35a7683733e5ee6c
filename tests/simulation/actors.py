"""Who acts in a history."""

import math


class Actor:
    """What can be paused and can die: the process of a worker or producer.

    Args:
        name: Its name.
    """

    def __init__(self, name):
        self.name = name
        self.alive = True
        self.resumes_at = -math.inf
        self.was_paused = False
        self.clock_error = 0.0
        # What it asks for at the moment.
        self.call = None

    def __repr__(self):
        return self.name
