"""The log of a broker: each line names topic and timer id."""

import logging
from typing import Any

from faststream_redis_timers._faststream import (
    ContextRepo,
    DefaultLoggerStorage,
    LoggerProto,
    get_broker_logger,
)

_MESSAGE_ID_WIDTH = 22
_WHOLE_MESSAGE_ID = 10_000


class TimersLoggerStorage(DefaultLoggerStorage):
    """Creates the default logger."""

    def __init__(self) -> None:
        """Start with a narrow column for topics."""
        super().__init__()
        self._topic_width = len("topic")

    def register_subscriber(self, params: dict[str, Any]) -> None:
        """Widen the column for a subscriber's topic.

        Args:
            params: Its log context.
        """
        self._topic_width = max(self._topic_width, len(params.get("topic", "")))

    def get_logger(self, *, context: ContextRepo) -> LoggerProto:
        """Return the logger, which is created once.

        Args:
            context: The context that log lines are filled from.
        """
        logger = self._get_logger_ref()
        if logger is None:
            logger = get_broker_logger(
                name="timers",
                default_context={"topic": ""},
                message_id_ln=_WHOLE_MESSAGE_ID,
                fmt=(
                    f"%(asctime)s %(levelname)-8s - %(topic)-{self._topic_width}s | "
                    f"%(message_id)-{_MESSAGE_ID_WIDTH}s - %(message)s"
                ),
                context=context,
                log_level=self.logger_log_level,
            )
            self._logger_ref.add(logger)
        return logger


DEFAULT_LEVEL = logging.INFO
