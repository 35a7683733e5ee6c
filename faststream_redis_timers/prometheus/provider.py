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
        is_batch = isinstance(msg.raw_message, TimerBatchDelivery)
        return {
            "destination_name": msg.raw_message.topic,
            "message_size": sum(map(len, msg.body)) if is_batch else len(msg.body),
            "messages_count": len(msg.body) if is_batch else 1,
        }

    def get_publish_destination_name_from_cmd(self, cmd: TimerPublishCommand) -> str:
        """Give the full topic of what is scheduled.

        Args:
            cmd: The command.
        """
        return cmd.destination
