"""Publishes a handler's result to the topic that the message asked for."""

from typing import Any

from faststream.response import PublishCommand

from faststream_redis_timers._faststream import FakePublisher, ProducerProto
from faststream_redis_timers.response import TimerPublishCommand


class TimersReplyPublisher(FakePublisher):
    """Schedules a handler's result as a timer.

    Args:
        producer: Schedules it.
        topic: The full topic.
    """

    def __init__(self, producer: ProducerProto[Any], topic: str) -> None:
        """Store the topic."""
        super().__init__(producer=producer)
        self._topic = topic

    def patch_command(self, cmd: PublishCommand) -> TimerPublishCommand:
        """Direct a command to the topic.

        Args:
            cmd: The result, as a command.
        """
        command = TimerPublishCommand.from_cmd(super().patch_command(cmd))
        command.destination = self._topic
        return command
