"""The configuration that a broker shares with its subscribers and publishers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faststream.exceptions import IncorrectState

from faststream_redis_timers._faststream import BrokerConfig
from faststream_redis_timers_sync.protocol.operations import Operations

if TYPE_CHECKING:
    from faststream_redis_timers.connection import TimersConnection


@dataclass(kw_only=True)
class TimersBrokerConfig(BrokerConfig):
    """A broker's configuration.

    Args:
        connection: Its client.
        operations: Makes the calls.
    """

    connection: "TimersConnection"
    operations: Operations


@dataclass(kw_only=True)
class TimersRouterConfig(BrokerConfig):
    """A router's configuration; client and keys come from its broker."""

    @property
    def connection(self) -> "TimersConnection":
        """The broker's.

        Raises:
            IncorrectState: No broker includes the router.
        """
        raise IncorrectState(_NOT_INCLUDED)

    @property
    def operations(self) -> Operations:
        """The broker's.

        Raises:
            IncorrectState: No broker includes the router.
        """
        raise IncorrectState(_NOT_INCLUDED)


_NOT_INCLUDED = "the router is in no broker: call `broker.include_router(router)` first"
