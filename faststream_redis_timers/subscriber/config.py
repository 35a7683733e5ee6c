"""The configuration of a subscriber."""

from dataclasses import dataclass

from faststream import AckPolicy

from faststream_redis_timers._faststream import (
    EMPTY,
    SubscriberSpecificationConfig,
    SubscriberUsecaseConfig,
)
from faststream_redis_timers.configs import TimersBrokerConfig
from faststream_redis_timers.schemas import TimerSub


@dataclass(kw_only=True)
class TimersSubscriberSpecificationConfig(SubscriberSpecificationConfig):
    """What documents say of a subscriber.

    Args:
        sub: The topic and knobs.
    """

    sub: TimerSub


@dataclass(kw_only=True)
class TimersSubscriberConfig(SubscriberUsecaseConfig):
    """How a subscriber works.

    Args:
        sub: The topic and knobs.
    """

    _outer_config: TimersBrokerConfig
    sub: TimerSub

    @property
    def auto_ack_disabled(self) -> bool:
        """FastStream's acknowledgement is always off: ours takes its place."""
        return True

    @property
    def ack_policy(self) -> AckPolicy:
        """The subscriber's policy, else the nearest router's or broker's, else retry."""
        for policy in (self._ack_policy, self._outer_config.ack_policy):
            if policy is not EMPTY:
                return policy
        return AckPolicy.NACK_ON_ERROR
