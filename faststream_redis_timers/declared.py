"""Series that brokers and routers declare, and that a broker's start ensures."""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from faststream.response import PublishType

from faststream_redis_timers.response import TimerPublishCommand
from faststream_redis_timers_sync.protocol.keys import prefixed
from faststream_redis_timers_sync.protocol.model import EncodedTimer, Series

if TYPE_CHECKING:
    from faststream_redis_timers.configs import TimersBrokerConfig


class DeclaredSeries(NamedTuple):
    """A series, and the broker or router that declares it.

    Args:
        series: The series; its topic has no prefixes.
        config: The configuration of that broker or router, with its prefixes and middlewares,
            including those of what includes it later.
    """

    series: Series
    config: "TimersBrokerConfig"

    async def encode(self, owner: str) -> tuple[str, EncodedTimer]:
        """Encode it as a timer, like `publish`: middlewares see the command.

        Args:
            owner: The full `series_owner`.

        Returns:
            Its full topic, and the timer.
        """
        series, config = self
        publish: Any = partial(_encode, config.producer)
        for middleware in reversed(config.broker_middlewares):
            publish = partial(middleware(None, context=config.context).publish_scope, publish)
        command = TimerPublishCommand(
            series.message,
            topic=prefixed(config.prefix, series.topic),
            timer_id=series.timer_id,
            repeat=series.repeat,
            repeat_owner=owner,
            headers=series.headers,
            _publish_type=PublishType.PUBLISH,
        )
        return await publish(command)  # type: ignore[no-any-return]


async def _encode(producer: Any, cmd: TimerPublishCommand) -> tuple[str, EncodedTimer]:
    return cmd.destination, await producer.encode(cmd)
