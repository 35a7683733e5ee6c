"""What FastStream's metrics say of a timer: its topic, its size, the name of the broker."""

from faststream.message import StreamMessage
from faststream.prometheus import ConsumeAttrs, MetricsSettingsProvider

from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.response import TimerPublishCommand


class TimersMetricsSettingsProvider(MetricsSettingsProvider[TimerDelivery, TimerPublishCommand]):
    """Names timers for FastStream's metrics.

    Attributes:
        messaging_system: The label `broker`: ``redis_timers``.
    """

    __slots__ = ("messaging_system",)

    def __init__(self) -> None:
        """Name the broker."""
        self.messaging_system = "redis_timers"

    def get_consume_attrs_from_message(self, msg: StreamMessage[TimerDelivery]) -> ConsumeAttrs:
        """Describe a timer that a handler gets.

        Args:
            msg: Its message.

        Returns:
            Its full topic, the size of its body in bytes, and that it is one message.
        """
        return {
            "destination_name": msg.raw_message.topic,
            "message_size": len(msg.body),
            "messages_count": 1,
        }

    def get_publish_destination_name_from_cmd(self, cmd: TimerPublishCommand) -> str:
        """Give the full topic of what is scheduled.

        Args:
            cmd: The command.
        """
        return cmd.destination
