"""An event loop whose time is a number: it jumps to the next timer when nothing is left to do.

Everything that runs belongs to an `Actor` (a worker's process, a producer) or to the world
itself. Each actor has a queue of its own, as if it were a process with its own event loop;
which of them goes on next is drawn. An actor can be paused, and it can die: what it had
begun is never run again, and nothing of it is cleaned up.
"""

import asyncio
import heapq
import itertools
from collections import deque
from contextlib import suppress
from contextvars import Context, ContextVar
from random import Random

from simulation.actors import Actor

_actor: ContextVar[Actor | None] = ContextVar("_actor", default=None)

LONGEST_STEP = 0.0001
"""Seconds that a callback takes at most. It takes some, or who yields in a loop until a moment
has come would yield forever."""

MOST_CALLBACKS = 2_000_000
"""Callbacks after which a simulation counts as one that does not end."""

MOST_CLOSINGS = 20
"""Tries to close a coroutine; each of its handlers of errors may wait for something."""


class LoopActor(Actor):
    """An actor with a queue of its own.

    Args:
        name: Its name.
    """

    def __init__(self, name):
        super().__init__(name)
        self.ready = deque()
        self.context = Context()
        self.context.run(_actor.set, self)


def current_actor():
    """Tell whose code is running; None is the world."""
    return _actor.get()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time; the same draws give the same order of events."""

    def __init__(self, draws: Random):
        super().__init__()
        self._draws = draws
        self._now = 1000.0
        self._world = LoopActor("world")
        self._actors = [self._world]
        self._timers = []
        self._numbers = itertools.count()
        self._count = 0
        self._tasks = {}
        self.errors = []
        self.set_exception_handler(self._note_error)

    def time(self):
        return self._now

    def add_actor(self, actor):
        self._actors.append(actor)

    def spawn(self, actor, coroutine):
        """Start a task that belongs to an actor."""
        return self.create_task(coroutine, context=actor.context.copy())

    def in_world(self, delay, callback, *args):
        """Call something later that no actor's fate concerns."""
        return self.call_at(self._now + delay, callback, *args, context=self._world.context)

    # --- what asyncio asks of an event loop

    def call_soon(self, callback, *args, context=None):
        handle = asyncio.Handle(callback, args, self, context)
        self._put(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def create_future(self):
        return _Future(loop=self, number=next(self._numbers))

    def create_task(self, coroutine, *, name=None, context=None, **options):
        number = next(self._numbers)
        task = _Task(coroutine, loop=self, name=name, context=context, number=number, **options)
        # Held here, so that none is collected: that would run its clean-up.
        self._tasks[task] = None
        task.add_done_callback(self._forget, context=self._world.context)
        return task

    def _forget(self, task):
        self._tasks.pop(task, None)

    def _timer_handle_cancelled(self, handle):
        pass

    def _run_once(self):
        self._ring()
        able = [actor for actor in self._actors if actor.ready and actor.resumes_at <= self._now]
        if not able:
            self._jump()
            return
        actor = able[0] if len(able) == 1 else self._draws.choice(able)
        handle = actor.ready.popleft()
        if handle.cancelled():
            return
        self._count += 1
        if self._count > MOST_CALLBACKS:
            msg = f"the simulation does not end: {MOST_CALLBACKS} callbacks"
            raise RuntimeError(msg)
        self._now += LONGEST_STEP * self._draws.random()
        handle._run()

    def _put(self, handle):
        actor = handle._context.get(_actor) or self._world
        if actor.alive:
            actor.ready.append(handle)

    def _ring(self):
        while self._timers and self._timers[0][0] <= self._now:
            _, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                self._put(handle)

    def _jump(self):
        moments = [actor.resumes_at for actor in self._actors if actor.ready]
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if self._timers:
            moments.append(self._timers[0][0])
        if not moments:
            msg = "nothing is left that could ever happen"
            raise RuntimeError(msg)
        self._now = max(self._now, min(moments))

    @staticmethod
    def _close(coroutine):
        for _ in range(MOST_CLOSINGS):
            # It may catch that, and wait for something else.
            with suppress(BaseException):
                coroutine.close()
                return

    def _note_error(self, loop, context):
        self.errors.append(context)

    # --- fates

    def pause(self, actor, seconds):
        """Let an actor do nothing for a while."""
        actor.resumes_at = max(actor.resumes_at, self._now + seconds)

    def kill(self, actor):
        """Let an actor do nothing from now on."""
        actor.alive = False
        actor.ready.clear()
        self._actors.remove(actor)

    def clear_away(self):
        """End all tasks, those of the dead too, when nothing of it counts any longer."""
        self.set_exception_handler(lambda loop, context: None)
        me = asyncio.current_task(self)
        self._tasks.pop(me)
        closed = set()
        while rest := [task for task in self._tasks if task not in closed]:
            closed.update(rest)
            # Some begin new tasks meanwhile, which come next.
            for task in rest:
                self._close(task.get_coro())
        for task in self._tasks:
            task._log_destroy_pending = False
        self._tasks.clear()
        self._timers.clear()
        for actor in self._actors:
            actor.ready.clear()


class _Numbered:
    """Sets of these are in the same order each time: an address as hash would not be."""

    def __hash__(self):
        return self._number

    def __eq__(self, other):
        return self is other


class _Future(_Numbered, asyncio.Future):
    def __init__(self, *, loop, number):
        self._number = number
        super().__init__(loop=loop)


class _Task(_Numbered, asyncio.Task):
    def __init__(self, coroutine, *, number, **options):
        self._number = number
        super().__init__(coroutine, **options)
