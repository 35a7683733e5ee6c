"""Time without an event loop: a heap of what is to happen when.

What happens belongs to an actor, or to the world itself. An actor can be paused, then what is
due waits until it goes on; and it can die, then nothing more of it happens.
"""

import asyncio
import heapq
import itertools
import math
from random import Random

from simulation.actors import Actor

LONGEST_STEP = 0.0001
"""Seconds that something takes at most. It takes some: so no two things happen at once."""

MOST_EVENTS = 1_000_000
"""Events after which a simulation counts as one that does not end."""


class VirtualTime:
    """Lets things happen in order; the same draws give the same order."""

    def __init__(self, draws: Random):
        self._draws = draws
        self._now = 1000.0
        self._world = Actor("world")
        self._heap = []
        self._numbers = itertools.count()
        self._is_over = False
        self.current = self._world

    def time(self):
        return self._now

    def call_at(self, moment, actor, callback, *args):
        """Let something happen at a moment."""
        heapq.heappush(self._heap, (moment, next(self._numbers), actor, callback, args))

    def call_soon(self, actor, callback, *args):
        self.call_at(self._now, actor, callback, *args)

    def in_world(self, delay, callback, *args):
        """Let something happen later that no actor's fate concerns."""
        self.call_at(self._now + delay, self._world, callback, *args)

    def spawn(self, story, actor=None, on_end=None):
        """Begin to live a story; the world's own where no actor is given."""
        return Strand(self, self._world if actor is None else actor, story, on_end)

    def run(self):
        """Let everything happen, until somebody ends it."""
        heap, numbers, draw = self._heap, self._numbers, self._draws.random
        for _ in range(MOST_EVENTS):
            if self._is_over:
                return
            if not heap:
                msg = "nothing is left that could ever happen"
                raise RuntimeError(msg)
            moment, _, actor, callback, args = heapq.heappop(heap)
            if not actor.alive:
                continue
            moment = max(moment, self._now)
            if actor.resumes_at > moment:
                # In the same order, so with a new number.
                heapq.heappush(heap, (actor.resumes_at, next(numbers), actor, callback, args))
                continue
            self._now = moment + LONGEST_STEP * draw()
            self.current = actor
            callback(*args)
        msg = f"the simulation does not end: {MOST_EVENTS} events"
        raise RuntimeError(msg)

    def end(self):
        """Let nothing more happen."""
        self._is_over = True

    def pause(self, actor, seconds):
        """Let an actor do nothing for a while."""
        actor.resumes_at = max(actor.resumes_at, self._now + seconds)

    @staticmethod
    def kill(actor):
        """Let an actor do nothing from now on."""
        actor.alive = False


class Signal:
    """What a story waits for: that somebody sets it, or that a moment has come.

    Args:
        until: The moment; the story is sent None then, else what was set.
    """

    __slots__ = ("_strand", "_value", "is_set", "until")

    def __init__(self, until=math.inf):
        self.until = until
        self.is_set = False
        self._value = None
        self._strand = None

    def set(self, value=True):  # noqa: FBT002  as a future's result
        if self.is_set:
            return
        self.is_set, self._value = True, value
        if self._strand is not None:
            self._strand.go_on_soon(self, value)

    def bring(self, strand):
        """Let a strand go on when it is set."""
        self._strand = strand
        if self.is_set:
            strand.go_on_soon(self, self._value)


class Strand:
    """Lives a story: a generator that yields seconds to sleep, or signals to wait for.

    Args:
        clock: The time.
        actor: Whose story it is.
        story: The generator.
        on_end: Called with what it raised, None where it came to its end. Without it nothing
            may be raised.
    """

    __slots__ = ("_actor", "_clock", "_on_end", "_story", "_waits_for", "when_over")

    def __init__(self, clock, actor, story, on_end=None):
        self._clock = clock
        self._actor = actor
        self._story = story
        self._waits_for = None
        self._on_end = on_end
        self.when_over = []
        clock.call_soon(actor, self._go_on, None, None)

    @property
    def is_over(self):
        return self._story is None

    def throw(self, error):
        """Raise something where the story waits; nothing if it is over."""
        self._waits_for = error
        self._clock.call_soon(self._actor, self._raise, error)

    def go_on_soon(self, signal, value):
        """Go on with a value, if it still waits for this signal."""
        self._clock.call_soon(self._actor, self._go_on, signal, value)

    def _raise(self, error):
        if self._waits_for is error and self._story is not None:
            self._step(self._story.throw, error)

    def _go_on(self, reason, value):
        if self._waits_for is reason and self._story is not None:
            self._step(self._story.send, value)

    def _step(self, go_on, value):
        clock = self._clock
        try:
            wanted = go_on(value)
        except StopIteration:
            self._end(None)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  `on_end` looks at it
            self._end(error)
        else:
            if isinstance(wanted, Signal):
                wanted.bring(self)
                moment = wanted.until
            else:
                moment = clock.time() + wanted
                wanted = object()
            self._waits_for = wanted
            if moment < math.inf:
                clock.call_at(moment, self._actor, self._go_on, wanted, None)

    def _end(self, error):
        self._story = None
        if self._on_end is not None:
            self._on_end(error)
        elif error is not None:
            raise error
        for call in self.when_over:
            call(self)


def when_over(strands, until=math.inf):
    """Give a signal that is set when all of some strands are over.

    Args:
        strands: The strands.
        until: Until when to wait for that.
    """
    signal = Signal(until)
    left = {strand for strand in strands if not strand.is_over}

    def note_end(strand):
        left.discard(strand)
        if not left:
            signal.set()

    for strand in left:
        strand.when_over.append(note_end)
    if not left:
        signal.set()
    return signal


def live(story, call):
    """Do what a story of `people` tells.

    Args:
        story: Yields seconds to sleep, or what `call` knows how to do.
        call: Given what was yielded; gives a generator.
    """
    result, error = None, None
    while True:
        try:
            wanted = story.send(result) if error is None else story.throw(error)
        except StopIteration:
            return
        result, error = None, None
        try:
            if isinstance(wanted, float):
                yield wanted
            else:
                result = yield from call(wanted)
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001  the story's matter
            error = raised
