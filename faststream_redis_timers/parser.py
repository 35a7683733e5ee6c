"""Makes messages of deliveries."""

from typing import Any

from faststream.message import StreamMessage, decode_message

from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.message import TimerMessage
from faststream_redis_timers_sync.protocol.encoding import decode_body


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
        try:
            return decode_message(message)
        except (ValueError, RecursionError):
            # Where orjson is installed FastStream reads with that, which takes no NaN. And of
            # the ways in which bytes without a content type are no JSON it minds only some.
            return decode_body(message.body, message.content_type)
