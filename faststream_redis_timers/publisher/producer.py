"""The producer: encodes messages and schedules them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from faststream.exceptions import FeatureNotSupportedException

from faststream_redis_timers._faststream import (
    BatchCodecProto,
    CodecProto,
    CustomCallable,
    DefaultCodec,
    IdGenerator,
    ParserComposition,
    ProducerProto,
)
from faststream_redis_timers.parser import TimersParser
from faststream_redis_timers.response import TimerPublishCommand
from faststream_redis_timers_sync.protocol.encoding import check_json
from faststream_redis_timers_sync.protocol.model import EncodedTimer, TimerPublishMessage
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.recurrence import Repeat
from faststream_redis_timers_sync.protocol.timers import (
    encode_batch_item,
    encode_timer,
    name_topic,
    refuse_publish_message,
)

if TYPE_CHECKING:
    from faststream_redis_timers.calls.runner import Runner
    from faststream_redis_timers.connection import TimersConnection

NO_REQUEST = (
    "timers have no request(): a result comes when the timer is due, maybe in a month. "
    "Publish with reply_to= and subscribe to that topic"
)


class TimersProducer(ProducerProto[TimerPublishCommand]):
    """Schedules messages.

    Args:
        connection: The broker's connection.
        operations: Makes the calls.
        parser: The broker's own parser, if it has one.
        decoder: The broker's own decoder, if it has one.
        codec: Encodes messages.
        id_generator: Creates ids for timers without an id.
    """

    def __init__(
        self,
        connection: "TimersConnection",
        operations: Operations,
        *,
        parser: CustomCallable | None,
        decoder: CustomCallable | None,
        codec: CodecProto | None,
        id_generator: IdGenerator,
    ) -> None:
        """Store the arguments."""
        self._connection = connection
        self._operations = operations
        default = TimersParser()
        self._parser = ParserComposition(parser, default.parse_message)
        self._decoder = ParserComposition(decoder, default.decode_message)
        self.codec = codec or DefaultCodec()
        self._id_generator = id_generator
        self.serializer: Any = None

    def connect(self, serializer: Any) -> None:
        """Set the serializer of the broker's application.

        Args:
            serializer: FastStream's serializer; None for plain JSON.
        """
        self.serializer = serializer

    async def publish(self, cmd: TimerPublishCommand) -> str:
        """Schedule one message.

        Args:
            cmd: The message and its options.

        Returns:
            The timer's id.
        """
        runner = self._connection.runner
        timer = await self.encode(cmd)
        if timer.repeat is not None:
            await self._schedule_several(runner, cmd, [timer])
            return timer.timer_id
        operation = self._operations.schedule(cmd.destination, timer, cmd.if_exists)
        if cmd.pipeline is None:
            await runner.run_together(operation)
        else:
            runner.queue(cmd.pipeline, operation, cmd.if_exists)
        return timer.timer_id

    async def publish_batch(self, cmd: TimerPublishCommand) -> list[str]:
        """Schedule several messages.

        Args:
            cmd: The messages and their common options.

        Returns:
            The timers' ids, in order.
        """
        runner = self._connection.runner
        timers = await self.encode_batch(cmd)
        await self._schedule_several(runner, cmd, timers)
        return [timer.timer_id for timer in timers]

    async def _schedule_several(
        self, runner: "Runner", cmd: TimerPublishCommand, timers: Sequence[EncodedTimer]
    ) -> None:
        topic = cmd.destination
        if cmd.pipeline is None:
            await runner.run_steps(self._operations.schedule_batch(topic, timers, cmd.if_exists))
            return
        # A pipeline has no replies yet, so the server's time is read outside it.
        timers = await runner.run_steps(self._operations.find_first_times(topic, timers))
        for operation in self._operations.schedule_calls(topic, timers, cmd.if_exists):
            runner.queue(cmd.pipeline, operation, cmd.if_exists)

    async def request(self, cmd: TimerPublishCommand) -> Any:
        """Not supported.

        Raises:
            FeatureNotSupportedException: Always.
        """
        raise FeatureNotSupportedException(NO_REQUEST)

    async def encode(self, cmd: TimerPublishCommand) -> EncodedTimer:
        """Encode a command's message as a timer.

        Args:
            cmd: The message and its options.
        """
        refuse_publish_message(cmd.body)
        body, content_type = await self._encode_body(cmd.body, cmd.destination, "message")
        timer_id = cmd.timer_id
        if timer_id is None and cmd.repeat is None:
            timer_id = self._id_generator()
        return encode_timer(
            body,
            content_type,
            timer_id=timer_id,
            activate_in=cmd.activate_in,
            activate_at=cmd.activate_at,
            default_delay=cmd.default_delay,
            correlation_id=cmd.correlation_id,
            headers=cmd.headers,
            reply_to=cmd.reply_to,
            repeat=cmd.repeat,
            repeat_owner=cmd.repeat_owner,
            topic=cmd.destination,
        )

    async def encode_batch(self, cmd: TimerPublishCommand) -> list[EncodedTimer]:
        """Encode a command's messages as timers.

        Args:
            cmd: The messages and their common options.
        """
        messages = [self._named(message, cmd.repeat) for message in cmd.batch_bodies]
        encoded = await self._encode_bodies([one.body for one in messages], cmd.destination)
        return [
            encode_batch_item(
                message,
                body,
                content_type,
                activate_in=cmd.activate_in,
                activate_at=cmd.activate_at,
                default_delay=cmd.default_delay,
                correlation_id=cmd.correlation_id,
                headers=cmd.headers,
                reply_to=cmd.reply_to,
                repeat=cmd.repeat,
                topic=cmd.destination,
            )
            for message, (body, content_type) in zip(messages, encoded, strict=True)
        ]

    def _named(self, message: Any, repeat: Repeat | None) -> TimerPublishMessage:
        # Recurring timers get no id: with a random one each call would create another series.
        # Replacing the message to add the id would take half as long as the whole encoding.
        if not isinstance(message, TimerPublishMessage):
            timer_id = self._id_generator() if repeat is None else None
            return TimerPublishMessage(message, timer_id=timer_id)
        if message.timer_id is not None:
            return message
        if message.activate_in is not None or message.activate_at is not None:
            repeat = None
        if repeat is not None or message.repeat is not None:
            return message
        return replace(message, timer_id=self._id_generator())

    async def _encode_bodies(
        self, bodies: Sequence[Any], topic: str
    ) -> Sequence[tuple[bytes, str | None]]:
        codec = self.codec
        if not isinstance(codec, BatchCodecProto):
            return [
                await self._encode_body(body, topic, f"messages[{position}]")
                for position, body in enumerate(bodies)
            ]
        try:
            encoded = await codec.encode_batch(bodies, self.serializer)
            if len(encoded) != len(bodies):
                msg = (
                    f"encode_batch of {type(codec).__name__} must return one body for each of "
                    f"{len(bodies)} messages, got {len(encoded)}"
                )
                raise ValueError(msg)  # noqa: TRY301  it is named like the codec's own
        except Exception as error:
            name_topic(error, topic, "messages")
            raise
        return encoded

    async def _encode_body(self, message: Any, topic: str, name: str) -> tuple[bytes, str | None]:
        try:
            body, content_type = await self.codec.encode(message, self.serializer)
            # Only a user's codec knows what its bytes mean.
            if type(self.codec) is DefaultCodec:
                check_json(body, content_type, name)
        except Exception as error:
            name_topic(error, topic, name)
            raise
        return body, content_type
