"""The configuration of a subscriber."""

from dataclasses import dataclass
from typing import Any, cast

from faststream import AckPolicy

from faststream_redis_timers._faststream import (
    EMPTY,
    SubscriberSpecificationConfig,
    SubscriberUsecaseConfig,
)
from faststream_redis_timers.configs import TimersBrokerConfig, nearest
from faststream_redis_timers.retry_policy import RetryDecision
from faststream_redis_timers.schemas import TimerSub, topic_for_dead_letters


@dataclass(kw_only=True)
class TimersSubscriberSpecificationConfig(SubscriberSpecificationConfig):
    """What AsyncAPI documents say about a subscriber.

    Args:
        sub: The topic and options.
    """

    sub: TimerSub


@dataclass(kw_only=True)
class TimersSubscriberConfig(SubscriberUsecaseConfig):
    """A subscriber's configuration.

    Args:
        sub: The topic and options.
        _retry_policy: What follows a failed attempt.
        _dead_letter_topic: The dead-letter topic; ``{topic}`` stands for the topic.
        _duty: How many workers of the topic are on duty.
    """

    _outer_config: TimersBrokerConfig
    sub: TimerSub
    _retry_policy: RetryDecision | None = EMPTY
    _dead_letter_topic: str | None = EMPTY
    _duty: int | None = EMPTY

    @property
    def auto_ack_disabled(self) -> bool:
        """True: FastStream's acknowledgement is always replaced by ours."""
        return True

    @property
    def ack_policy(self) -> AckPolicy:
        """The subscriber's policy, else the nearest router's or broker's, else retry."""
        for policy in (self._ack_policy, self._outer_config.ack_policy):
            if policy is not EMPTY:
                return policy
        return AckPolicy.NACK_ON_ERROR

    @property
    def retry_policy(self) -> RetryDecision | None:
        """The subscriber's policy, else the nearest router's or broker's, else None."""
        policy = self._nearest(self._retry_policy, "retry_policy")
        return None if policy is EMPTY else cast("RetryDecision | None", policy)

    @property
    def dead_topic(self) -> str | None:
        """The full dead-letter topic, found like `retry_policy`.

        Also None if it would be the subscriber's own topic.
        """
        dead_letter_topic = self._nearest(self._dead_letter_topic, "dead_letter_topic")
        if dead_letter_topic is EMPTY or dead_letter_topic is None:
            return None
        topic = topic_for_dead_letters(dead_letter_topic, self.sub.topic)
        return None if topic == self.sub.topic else f"{self._outer_config.prefix}{topic}"

    @property
    def duty(self) -> int | None:
        """How many workers of the topic are on duty, found like `retry_policy`; None means all."""
        return cast("int | None", self._nearest(self._duty, "duty"))

    def _nearest(self, own: Any, name: str) -> Any:
        return nearest(self._outer_config, name) if own is EMPTY else own
