"""The configuration that a broker shares with its subscribers and publishers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faststream.exceptions import IncorrectState

from faststream_redis_timers._faststream import EMPTY, BrokerConfig
from faststream_redis_timers.retry_policy import RetryDecision
from faststream_redis_timers.schemas import DUTY
from faststream_redis_timers_sync.protocol.operations import Operations

if TYPE_CHECKING:
    from faststream_redis_timers.connection import TimersConnection


@dataclass(kw_only=True)
class TimersBrokerConfig(BrokerConfig):
    """A broker's configuration.

    Args:
        connection: Its client.
        operations: Creates the operations to call.
        underlying_driver_annotations: Types of arguments that FastStream refuses
            to inject, and what to annotate with instead. FastStream 0.7.6 ignores it.
        default_driver_annotations: The same for the types of this package.
        retry_policy: What follows a failed attempt, unless a router or subscriber sets it.
        dead_letter_topic: The dead-letter topic, likewise.
        duty: How many workers of a topic are on duty, likewise; None means all.
    """

    connection: "TimersConnection"
    operations: Operations
    underlying_driver_annotations: Mapping[Any, Any] = field(default_factory=dict)
    default_driver_annotations: Mapping[Any, Any] = field(default_factory=dict)
    retry_policy: RetryDecision | None = EMPTY
    dead_letter_topic: str | None = EMPTY
    duty: int | None = DUTY


@dataclass(kw_only=True)
class TimersRouterConfig(BrokerConfig):
    """A router's configuration; client and keys come from its broker.

    Args:
        underlying_driver_annotations: See `TimersBrokerConfig`.
        retry_policy: See `TimersBrokerConfig`.
        dead_letter_topic: See `TimersBrokerConfig`.
        duty: See `TimersBrokerConfig`.
    """

    underlying_driver_annotations: Mapping[Any, Any] = field(default_factory=dict)
    retry_policy: RetryDecision | None = EMPTY
    dead_letter_topic: str | None = EMPTY
    duty: int | None = EMPTY

    @property
    def connection(self) -> "TimersConnection":
        """The broker's, which a router does not have yet.

        Raises:
            IncorrectState: Always: no broker includes the router.
        """
        raise IncorrectState(_NOT_INCLUDED)

    @property
    def operations(self) -> Operations:
        """The broker's, which a router does not have yet.

        Raises:
            IncorrectState: Always: no broker includes the router.
        """
        raise IncorrectState(_NOT_INCLUDED)


_NOT_INCLUDED = "the router is not included in a broker: call `broker.include_router(router)` first"


def nearest(config: Any, name: str) -> Any:
    """Return an option of the innermost router that sets it, else the broker's.

    Args:
        config: A composition of the configs of broker and routers, or one of them.
        name: The option's name.

    Returns:
        The option; `EMPTY` if none sets it.
    """
    # For unknown attributes FastStream's compositions return the broker's.
    for one in reversed(getattr(config, "configs", ())):
        found = nearest(one, name)
        if found is not EMPTY:
            return found
    return EMPTY if hasattr(config, "configs") else getattr(config, name, EMPTY)
