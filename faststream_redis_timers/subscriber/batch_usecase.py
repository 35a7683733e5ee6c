"""The subscriber whose handlers get batches."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, cast

from faststream.exceptions import SetupError
from faststream.response import Response

from faststream_redis_timers.delivered import TimerBatchDelivery
from faststream_redis_timers.parser import TimersBatchParser
from faststream_redis_timers.subscriber.batches import Terms, handle_and_settle_batch
from faststream_redis_timers.subscriber.config import TimersSubscriberConfig
from faststream_redis_timers.subscriber.usecase import TimersSubscriber

_Handle = Callable[[TimerBatchDelivery], Awaitable[Response]]


class TimersBatchSubscriber(TimersSubscriber):
    """Hands the due timers of a topic to its handlers, up to a hundred at once."""

    _make_batch = TimerBatchDelivery

    def _set_parser(self, config: TimersSubscriberConfig) -> None:
        parser = TimersBatchParser()
        config.parser = parser.parse_batch
        config.decoder = parser.decode_batch

    async def process_message(self, msg: Any) -> Response:
        """Run the handler for a batch and settle its timers.

        Args:
            msg: The batch.

        Returns:
            The handler's response; an empty one where timers were tried alone.
        """
        terms = Terms(
            sub=self.sub,
            names={call.name for call in self.calls},
            policy=self._config.ack_policy,
            # FastStream's: that of the parent settles a single timer.
            handle=cast("_Handle", super(TimersSubscriber, self).process_message),
            on_stop=self._begin_stop,
            is_stopping=self._is_stopping,
            log=self._write_log,
        )
        return await handle_and_settle_batch(cast("TimerBatchDelivery", msg), terms)

    def _is_stopping(self, batch: TimerBatchDelivery) -> bool:
        # In a test nothing but the test delivers.
        loop = self._loop
        return loop is not None and batch.claim.holder is loop and loop.core.is_stopping

    async def get_one(self, *, timeout: float = 5) -> NoReturn:
        """Refuse to give timers one by one.

        Args:
            timeout: Without a meaning here.

        Raises:
            SetupError: Always: it gives batches to handlers.
        """
        self._refuse("get_one()")

    def __aiter__(self) -> AsyncIterator[NoReturn]:
        """Refuse to give timers one by one.

        Raises:
            SetupError: Always: it gives batches to handlers.
        """
        self._refuse("`async for`")

    def _refuse(self, what: str) -> NoReturn:
        msg = (
            f"{what} gives timers one by one, and the subscriber of topic {self.topic!r} has "
            "batch=True, which is for handlers: leave batch out"
        )
        raise SetupError(msg)
