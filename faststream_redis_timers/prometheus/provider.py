"""What FastStream's metrics say of a timer: its topic, its size, the name of the broker."""

from faststream.message import StreamMessage
from faststream.prometheus import ConsumeAttrs, MetricsSettingsProvider

from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
from faststream_redis_timers.response import TimerPublishCommand


class TimersMetricsSettingsProvider(
    MetricsSettingsProvider[TimerDelivery | TimerBatchDelivery, TimerPublishCommand]
):
    """Names timers for FastStream's metrics.

    Attributes:
        messaging_system: The label `broker`: ``redis_timers``.
    """

    __slots__ = ("messaging_system",)

    def __init__(self) -> None:
        """Name the broker."""
        self.messaging_system = "redis_timers"

    def get_consume_attrs_from_message(
        self, msg: StreamMessage[TimerDelivery | TimerBatchDelivery]
    ) -> ConsumeAttrs:
        """Describe what a handler gets: a timer, or a batch of timers.

        Args:
            msg: The message.

        Returns:
            The full topic, the size of the body or bodies in bytes, and how many there are.
        """
        raw = msg.raw_message
        size, count = len(msg.body), 1
        if isinstance(raw, TimerBatchDelivery):
            size = sum(len(one.envelope.body) for one in raw.deliveries)
            count = len(raw.deliveries)
        return {"destination_name": raw.topic, "message_size": size, "messages_count": count}

    def get_publish_destination_name_from_cmd(self, cmd: TimerPublishCommand) -> str:
        """Return the full topic of a command.

        Args:
            cmd: The command.
        """
        return cmd.destination
