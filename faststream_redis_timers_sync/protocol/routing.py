"""Routes a call through a cluster: the nodes to ask, and what to do after a refusal.

It does no I/O, so that both front ends share it.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from faststream_redis_timers_sync.protocol.cluster import Address, SlotMap, slot_of
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.operation import Operation, command

DEFAULT_WINDOW = 4.0
"""Seconds that a call retries after a refusal, on clients from URLs and on those that have no
timeouts: two of our own timeouts, one to connect and one for the reply."""

MAP_TIMEOUT = 1.0
"""Seconds that one node has to connect and to give the map, before another is asked."""

LONGEST_REFRESH = 2.0
"""Seconds after which no further node is asked for the map: the next try begins with others."""

NO_MAP = "no node of the cluster gives a map of its slots"
"""The error if nodes reply, but know no slots."""

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.25


CLUSTER_SLOTS = command(b"CLUSTER", b"SLOTS", parse=list)
"""Asks for the map."""


class Refusal(NamedTuple):
    """A node's refusal of a call.

    Args:
        kind: Its first word: MOVED, ASK, TRYAGAIN, CLUSTERDOWN, MASTERDOWN, LOADING or READONLY.
        slot: With MOVED and ASK: the slot.
        host: Likewise: the host to ask, often empty.
        port: Likewise: its port.
    """

    kind: str
    slot: int = -1
    host: str = ""
    port: int = 0


_KINDS = {
    "MovedError": "MOVED",
    "AskError": "ASK",
    "TryAgainError": "TRYAGAIN",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "BusyLoadingError": "LOADING",
    "ReadOnlyError": "READONLY",
}


def window_of(options: Mapping[str, Any]) -> float:
    """Return for how many seconds a call retries after refusals.

    Args:
        options: The arguments of the client's connections.
    """
    connecting, reading = options.get("socket_connect_timeout"), options.get("socket_timeout")
    if connecting is None or reading is None:
        return DEFAULT_WINDOW
    return float(connecting + reading)


def refusal_of(error: BaseException) -> Refusal | None:
    """Read an error as a refusal: nothing was executed, and another attempt may succeed.

    Args:
        error: The error of redis-py. Its class depends on the version and the parser.

    Returns:
        None for every other error.
    """
    names = _names_of(error)
    if not names.keys() & {"ResponseError", *_KINDS}:
        return None
    kind = next((_KINDS[name] for name in names if name in _KINDS), None)
    first, *words = str(error.args[0] if error.args else "").split(" ")
    if kind is None and first in _KINDS.values():
        kind = first
    elif kind is not None and first != kind:
        words = [first, *words]
    if kind not in {"MOVED", "ASK"}:
        return None if kind is None else Refusal(kind)
    slot, address = words[:2]
    host, _, port = address.rpartition(":")
    return Refusal(kind, int(slot), host.strip("[]"), int(port))


def is_refused_for_now(error: BaseException) -> bool:
    """Return whether a cluster still refused a call when its window ended; a later one may succeed.

    Args:
        error: The error of the call.
    """
    refusal = refusal_of(error)
    return refusal is not None and refusal.kind in {"CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN"}


def explained(error: Exception, address: Address) -> Exception:
    """Return the error to raise if a node has no map, with its remedy.

    Args:
        error: The node's error.
        address: The node.

    Returns:
        The error, or one of its class with our own message.
    """
    if "cluster support disabled" not in str(error):
        return error
    return type(error)(
        f"{address} is not a node of a Redis Cluster, its cluster support is disabled: write "
        "redis:// instead of redis+cluster://, or pass a redis.Redis client of that server"
    )


def meaning_of(operation: Operation[Any], error: BaseException) -> TimersError | None:
    """Return the error to raise in place of the server's error.

    Args:
        operation: The operation.
        error: The error of redis-py.

    Returns:
        None if the error is to be raised as it is.
    """
    # The script was ended midway, since one of its keys had moved to another node.
    if "ResponseError" in _names_of(error) and "non local key" in str(error):
        return operation.outcome_unknown(error)
    return operation.refusal(error)


def _names_of(error: BaseException) -> dict[str, None]:
    # By name, so that this needs no redis-py. MovedError is a kind of AskError: the order counts.
    return {base.__name__: None for base in type(error).__mro__}


class NotSentError(Exception):
    """No connection could be made, so nothing was sent."""

    @property
    def problem(self) -> BaseException:
        """The cause, to be raised to the caller."""
        return self.__cause__ or self


class NotServedError(Exception):
    """No primary is known to serve the slot of a call, or some slot of a cluster."""


class Ask(NamedTuple):
    """Send the call to a node, and return its reply or its error.

    Args:
        primary: The node.
        asking: Whether ASKING goes before it, because the slot is moving there.
    """

    primary: Address
    asking: bool


class Pause(NamedTuple):
    """Wait.

    Args:
        seconds: For how long.
    """

    seconds: float


class Refresh(NamedTuple):
    """Read the map again, unless that was done since.

    Args:
        version: The version of the outdated map.
        without: A node that has just failed to reply.
        seconds: The time limit.
    """

    version: int
    without: Address | None
    seconds: float


Way = Generator[Ask | Pause | Refresh, Any, Any]
"""Turns of a call through a cluster; it returns the reply, or raises what the caller gets."""


def way_of(
    operation: Operation[Any],
    slots: SlotMap,
    window: float,
    clock: Callable[[], float],
    spread: Callable[[], float],
) -> Way:
    """Route one call to the primary of its keys, and after each refusal to another attempt.

    A call is repeated only if nothing of it was executed: it was refused, or no connection was
    made. A call that may be repeated is also repeated once if its reply was lost.

    Args:
        operation: The call. Without keys any primary is asked.
        slots: The map, which this corrects.
        window: Seconds from the start after which a refusal is raised. If all connections were in
            use for that long, they start with the first refusal.
        clock: A monotonic clock, in seconds.
        spread: Returns a number from 0 to 1, for the jitter of pauses.

    Returns:
        Turns; each is sent the reply, or has the error thrown into it.
    """
    course = _Course(operation, slots)
    if slots.is_stale and slots.is_due(clock()):
        with suppress(NotSentError):
            yield Refresh(slots.version, None, window)
        slots.tried_at = clock()
    began_at = clock()
    end = None
    while True:
        version = slots.version
        if (primary := course.next_primary()) is None:
            course.note_unserved()
        else:
            try:
                return (yield Ask(primary, course.is_asking))
            except Exception as error:  # noqa: BLE001  it says itself which of them end the call
                course.note(error, primary)
        now = clock()
        if end is None:
            end = began_at + window if now < began_at + window else now + window
        if course.must_refresh and slots.is_due(now) and now < end:
            try:
                yield Refresh(version, course.silent, end - now)
            except NotSentError as error:
                course.note_unknown(error)
            slots.tried_at = now = clock()
        if now >= end and not course.is_sent_on:
            raise course.problem from None
        if (pause := course.next_pause()) > 0:
            yield Pause(min(pause * (0.5 + spread()), max(end - now, 0.0)))


class _Course:
    """The state of one call.

    Args:
        operation: The call.
        slots: The map, which this corrects.
    """

    __slots__ = (
        "_ask_at",
        "_is_lost",
        "_must_pause",
        "_operation",
        "_pause",
        "_problems",
        "_slot",
        "_slots",
        "is_sent_on",
        "must_refresh",
        "problem",
        "silent",
    )

    def __init__(self, operation: Operation[Any], slots: SlotMap) -> None:
        self._operation = operation
        self._slots = slots
        self._slot = slot_of(operation.keys[0]) if operation.keys else None
        self._ask_at: Address | None = None
        self._is_lost = False
        self._must_pause = False
        self._pause = _FIRST_PAUSE
        self._problems = 0
        self.is_sent_on = False
        self.must_refresh = False
        self.problem: BaseException = NotSentError()
        self.silent: Address | None = None

    @property
    def is_asking(self) -> bool:
        return self._ask_at is not None

    def next_primary(self) -> Address | None:
        if self._ask_at is not None:
            return self._ask_at
        if self._slot is not None:
            return self._slots.primary_of(self._slot)
        primaries = self._slots.primaries
        # A node that did not reply is asked again only if there is no other.
        return min(primaries, key=lambda one: one == self.silent, default=None)

    def next_pause(self) -> float:
        if not self._must_pause:
            return 0.0
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return pause

    def note_unserved(self) -> None:
        """Note that no primary is known to serve the slot."""
        is_known = self._slots.version > 0
        if is_known or not self._problems:
            self.problem = not_served(self._slots, self._operation)
        self._go_on(must_refresh=True, must_pause=self._problems > 0)

    def note_unknown(self, error: NotSentError) -> None:
        """Note that no node returns the map."""
        if self._slots.version == 0:
            self.problem = error.problem
            if _is_for_good(self.problem):
                raise self.problem from None
            self._must_pause = True

    def note(self, error: Exception, asked: Address) -> None:
        """Take an error.

        Args:
            error: The error.
            asked: The node that was asked; by now another may serve the slot.

        Raises:
            Exception: The error, if the call can't be repeated.
        """
        if isinstance(error, NotSentError):
            self.problem = error.problem
            if _is_for_good(self.problem):
                raise self.problem from None
            self.silent, self._ask_at = asked, None
            self._go_on(must_refresh=True, must_pause=self._problems > 0)
            return
        self.problem = error
        if (refusal := refusal_of(error)) is not None:
            self._take(refusal, asked)
        elif self._operation.may_repeat and _is_lost(error) and not self._is_lost:
            self.silent, self._ask_at, self._is_lost = asked, None, True
            self._go_on(must_refresh=True, must_pause=self._problems > 0)
        else:
            # A node that is silent may have been replaced, and will never tell.
            self._slots.is_stale |= bool(_names_of(error).keys() & _SILENCE)
            raise error

    def _take(self, refusal: Refusal, told_by: Address) -> None:
        is_again = self._problems > 0
        if refusal.kind == "ASK":
            is_asked_on = self.is_asking
            self._ask_at = self._slots.resolve(refusal.host, refusal.port, told_by)
            if self._operation.keys:
                self._slots.on_asked(self._operation.keys[0])
            self._go_on(must_refresh=False, must_pause=is_asked_on)
            self.is_sent_on = not is_asked_on
        elif refusal.kind == "MOVED":
            target = self._slots.resolve(refusal.host, refusal.port, told_by)
            self._slots.assign(refusal.slot, target)
            self._ask_at = None
            # While the cluster does not agree, two nodes may send the call to each other.
            self._go_on(must_refresh=False, must_pause=is_again)
            self.is_sent_on = not is_again
        else:
            self._ask_at = None
            self._go_on(must_refresh=refusal.kind != "TRYAGAIN", must_pause=True)

    def _go_on(self, *, must_refresh: bool, must_pause: bool) -> None:
        self._problems += 1
        self.is_sent_on = False
        self.must_refresh, self._must_pause = must_refresh, must_pause


def not_served(slots: SlotMap, operation: Operation[Any] | None = None) -> NotServedError:
    """Make the error for slots that no primary serves.

    Args:
        slots: The map.
        operation: The call that is about such a slot; None for any.
    """
    remedy = "see `CLUSTER INFO` of its nodes, and give all slots to primaries that are up"
    if operation is not None and operation.keys:
        key = operation.keys[0]
        about = f" of topic {operation.topic!r}" if operation.topic else ""
        msg = f"no primary of the cluster serves slot {slot_of(key)}{about}: {remedy}"
    else:
        msg = f"no primary of the cluster serves these slots: {slots.uncovered}; {remedy}"
    return NotServedError(msg)


_SILENCE = {"TimerOutcomeUnknownError", "ConnectionError", "TimeoutError", "OSError"}


def fresh(error: BaseException) -> BaseException:
    """Copy an error for several callers: raising one object repeatedly lengthens its traceback.

    Args:
        error: The error.

    Returns:
        The copy; the error itself if its class can't be made from its arguments.
    """
    try:
        return type(error)(*error.args)
    except Exception:  # noqa: BLE001  whatever its constructor wants
        return error


def _is_lost(error: Exception) -> bool:
    names = _names_of(error)
    # A server that is silent would be waited for twice.
    return bool(names.keys() & {"ConnectionError", "OSError"}) and "TimeoutError" not in names


def _is_for_good(error: BaseException) -> bool:
    """Return whether another attempt would fail the same way."""
    names = _names_of(error).keys()
    if "ResponseError" in names:
        return refusal_of(error) is None
    return bool(names & {"AuthenticationError", "AuthorizationError"})
