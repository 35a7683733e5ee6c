"""Who may do what: the application says so for each request."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from faststream_redis_timers_sync.web.messages import Request

Right = Literal["run", "reschedule", "cancel", "redrive", "cancel_all"]
"""What somebody may be allowed besides looking: to run timers now; to reschedule, pause and resume
them; to cancel those that are ticked or match a search, which may be all of them; to redrive dead
letters; and to cancel all timers of a topic at once."""

RIGHTS: frozenset[str] = frozenset(get_args(Right))


@dataclass(frozen=True, slots=True)
class Access:
    """Allows somebody to look at timers, and to change them where rights say so.

    Args:
        user: Who it is, for the audit log and the page's head.
        may: The rights: ``"run"``, ``"reschedule"`` (with pausing and resuming), ``"cancel"``,
            ``"redrive"`` and ``"cancel_all"``. By default none: somebody looks and no more.
            ``"cancel_all"`` guards against an accident, not against a person: who has
            ``"cancel"`` can still cancel every timer, by a search that all ids match.

    Raises:
        TypeError: The rights are no collection.
        ValueError: The user is empty, or there is no such right.
    """

    user: str
    may: Collection[Right] = frozenset()

    def __post_init__(self) -> None:
        """Check both."""
        if not isinstance(self.user, str) or not self.user:
            msg = f"user must be a text that is not empty, got {self.user!r}"
            raise ValueError(msg)
        rights = self.may
        if not isinstance(rights, Iterable) or isinstance(rights, (str, bytes)):
            msg = f"may must be several rights, as {{'run'}}, got {rights!r}"
            raise TypeError(msg)
        # What can't be hashed is no right either.
        if not all(isinstance(right, str) and right in RIGHTS for right in rights):
            msg = f"may must be some of {', '.join(sorted(RIGHTS))}, got {rights!r}"
            raise ValueError(msg)
        object.__setattr__(self, "may", frozenset(rights))


@dataclass(frozen=True, slots=True)
class AskPassword:
    """Refuses a request, and has the browser ask for user and password (status 401).

    The next request then has them as `Request.credentials`.

    Args:
        realm: What browsers say the password is for.
    """

    realm: str = "Timers"

    def __post_init__(self) -> None:
        """Check that it can stand in a header."""
        if not isinstance(self.realm, str):
            msg = f"realm must be a text, got {self.realm!r}"
            raise TypeError(msg)
        if not self.realm.isascii() or not self.realm.isprintable() or set('"\\') & set(self.realm):
            msg = f"realm must be printable ASCII without quotes, got {self.realm!r}"
            raise ValueError(msg)


Allow = Callable[[Request], Access | AskPassword | None]
"""Says for each request who may do what; None refuses it."""
