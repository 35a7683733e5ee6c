"""Access control: the application decides for each request who may do what."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from faststream_redis_timers_sync.web.messages import Request

Right = Literal["run", "reschedule", "cancel", "redrive", "cancel_all"]
"""The rights beyond viewing: to run timers now; to reschedule, pause and resume them; to cancel
timers that are ticked or match a search, which may be all; to redrive dead letters; and to cancel
all timers of a topic at once."""

RIGHTS: frozenset[str] = frozenset(get_args(Right))


@dataclass(frozen=True, slots=True)
class Access:
    """Lets a user see timers, and change them as the rights allow.

    Args:
        user: The user's name, for the audit log and the page's head.
        may: The rights: ``"run"``, ``"reschedule"`` (with pausing and resuming), ``"cancel"``,
            ``"redrive"`` and ``"cancel_all"``. Default: none, so the user can only view.
            ``"cancel_all"`` guards against accidents, not against malice: a user with
            ``"cancel"`` can still cancel every timer, by a search that matches all ids.

    Raises:
        TypeError: The rights are not a collection.
        ValueError: The user is empty, or a right is unknown.
    """

    user: str
    may: Collection[Right] = frozenset()

    def __post_init__(self) -> None:
        """Check both."""
        if not isinstance(self.user, str) or not self.user:
            msg = f"user must be a non-empty str, got {self.user!r}"
            raise ValueError(msg)
        rights = self.may
        if not isinstance(rights, Iterable) or isinstance(rights, (str, bytes)):
            msg = f"may must be a collection of rights, such as {{'run'}}, got {rights!r}"
            raise TypeError(msg)
        # A value that can't be hashed is not a right either.
        if not all(isinstance(right, str) and right in RIGHTS for right in rights):
            msg = f"may must be some of {', '.join(sorted(RIGHTS))}, got {rights!r}"
            raise ValueError(msg)
        object.__setattr__(self, "may", frozenset(rights))


@dataclass(frozen=True, slots=True)
class AskPassword:
    """Refuses a request, and makes the browser ask for user and password (status 401).

    The next request then has them as `Request.credentials`.

    Args:
        realm: The purpose of the password that browsers show.
    """

    realm: str = "Timers"

    def __post_init__(self) -> None:
        """Check that it can stand in a header."""
        if not isinstance(self.realm, str):
            msg = f"realm must be a str, got {self.realm!r}"
            raise TypeError(msg)
        if not self.realm.isascii() or not self.realm.isprintable() or set('"\\') & set(self.realm):
            msg = f"realm must be printable ASCII without quotes, got {self.realm!r}"
            raise ValueError(msg)


Allow = Callable[[Request], Access | AskPassword | None]
"""Decides for each request who may do what; None refuses it."""
