"""Makes messages of deliveries."""

from typing import TYPE_CHECKING, Any

from faststream_redis_timers.decoding import decode
from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.message import TimerMessage

if TYPE_CHECKING:
    from faststream.message import StreamMessage


class TimersParser:
    """The default parser and decoder."""

    async def parse_message(self, message: TimerDelivery) -> TimerMessage:
        """Make a message of a delivery.

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
