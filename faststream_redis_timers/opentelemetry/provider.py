"""Attributes of spans and metrics: those of messaging, and how late a timer was."""

from typing import Any

from faststream.message import StreamMessage
from faststream.opentelemetry import TelemetrySettingsProvider
from faststream.opentelemetry.consts import MESSAGING_DESTINATION_PUBLISH_NAME
from opentelemetry.semconv.trace import SpanAttributes

from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
from faststream_redis_timers.response import TimerPublishCommand

LATENESS = "timers.lateness"
"""Seconds from due time to claim; for a batch, the longest."""

REDELIVERED = "timers.redelivered"
"""Whether a worker claimed it before and did not finish; for a batch, any of its timers."""


_Raw = TimerDelivery | TimerBatchDelivery


class TimersTelemetrySettingsProvider(TelemetrySettingsProvider[_Raw, TimerPublishCommand]):
    """Describes timers for OpenTelemetry.

    Attributes:
        messaging_system: The attribute ``messaging.system``: ``redis_timers``.
    """

    __slots__ = ("messaging_system",)

    def __init__(self) -> None:
        """Name the system."""
        self.messaging_system = "redis_timers"

    def get_consume_attrs_from_message(self, msg: StreamMessage[_Raw]) -> dict[str, Any]:
        """Describe what a handler gets: a timer, or a batch of timers.

        Args:
            msg: The message.
        """
        raw = msg.raw_message
        attributes = {
            SpanAttributes.MESSAGING_SYSTEM: self.messaging_system,
            SpanAttributes.MESSAGING_MESSAGE_ID: msg.message_id,
            SpanAttributes.MESSAGING_MESSAGE_CONVERSATION_ID: msg.correlation_id,
            MESSAGING_DESTINATION_PUBLISH_NAME: raw.topic,
            REDELIVERED: raw.redelivered,
        }
        if isinstance(raw, TimerBatchDelivery):
            size = sum(len(one.envelope.body) for one in raw.deliveries)
            return attributes | {
                SpanAttributes.MESSAGING_MESSAGE_PAYLOAD_SIZE_BYTES: size,
                SpanAttributes.MESSAGING_BATCH_MESSAGE_COUNT: len(raw.deliveries),
                LATENESS: max(delivery.lateness for delivery in raw.deliveries),
            }
        return attributes | {
            SpanAttributes.MESSAGING_MESSAGE_PAYLOAD_SIZE_BYTES: len(msg.body),
            LATENESS: raw.lateness,
        }

    def get_consume_destination_name(self, msg: StreamMessage[_Raw]) -> str:
        """Return the full topic of a message.

        Args:
            msg: The message.
        """
        return msg.raw_message.topic

    def get_publish_attrs_from_cmd(self, cmd: TimerPublishCommand) -> dict[str, Any]:
        """Describe what is scheduled.

        Args:
            cmd: The command.
        """
        attributes = {
            SpanAttributes.MESSAGING_SYSTEM: self.messaging_system,
            SpanAttributes.MESSAGING_DESTINATION_NAME: cmd.destination,
            SpanAttributes.MESSAGING_MESSAGE_ID: cmd.timer_id,
            # By default it is the timer's id.
            SpanAttributes.MESSAGING_MESSAGE_CONVERSATION_ID: cmd.correlation_id or cmd.timer_id,
        }
        # Other values are misplaced messages, which are refused later.
        return {name: value for name, value in attributes.items() if isinstance(value, str)}

    def get_publish_destination_name(self, cmd: TimerPublishCommand) -> str:
        """Return the full topic of a command.

        Args:
            cmd: The command.
        """
        return cmd.destination
