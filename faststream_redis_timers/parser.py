"""Creates messages from deliveries."""

from typing import TYPE_CHECKING, Any, cast

from faststream_redis_timers.decoding import decode, decode_all
from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
from faststream_redis_timers.message import TimerBatchMessage, TimerMessage

if TYPE_CHECKING:
    from faststream.message import StreamMessage


class TimersParser:
    """The default parser and decoder."""

    async def parse_message(self, message: TimerDelivery) -> TimerMessage:
        """Create a message from a delivery.

        Args:
            message: The delivery.
        """
        body, headers = message.envelope
        return TimerMessage(
            raw_message=message,
            body=body,
            headers=dict(headers),
            reply_to=headers.get("reply_to", ""),
            content_type=headers.get("content-type"),
            message_id=message.timer_id,
            correlation_id=message.correlation_id,
        )

    async def decode_message(self, message: "StreamMessage[Any]") -> Any:
        """Decode a message's body.

        Args:
            message: The message.
        """
        return decode(message.body, message.content_type)


class TimersBatchParser:
    """The default parser and decoder of batches; FastStream looks for its methods by name."""

    async def parse_batch(self, message: TimerBatchDelivery) -> TimerBatchMessage:
        """Create a message from a batch.

        Args:
            message: The batch.
        """
        first = message.deliveries[0]
        headers = first.envelope.headers
        return TimerBatchMessage(
            raw_message=message,
            body=[delivery.envelope.body for delivery in message.deliveries],
            headers=dict(headers),
            content_type=headers.get("content-type"),
            message_id=first.timer_id,
            correlation_id=first.correlation_id,
        )

    async def decode_batch(self, message: "StreamMessage[TimerBatchDelivery]") -> list[Any]:
        """Decode the bodies of a batch, each by its own content type.

        Args:
            message: The message.
        """
        deliveries = message.raw_message.deliveries
        return decode_all(
            cast("list[bytes]", message.body),
            [one.envelope.headers.get("content-type") for one in deliveries],
        )
