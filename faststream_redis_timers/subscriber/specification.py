"""What AsyncAPI documents say about a subscriber."""

from faststream.specification.asyncapi.utils import resolve_payloads
from faststream.specification.schema import Message, Operation, SubscriberSpec

from faststream_redis_timers._faststream import SubscriberSpecification
from faststream_redis_timers.channels import channel_binding, channel_key
from faststream_redis_timers.configs import TimersBrokerConfig
from faststream_redis_timers.subscriber.config import TimersSubscriberSpecificationConfig


class TimersSubscriberSpecification(
    SubscriberSpecification[TimersBrokerConfig, TimersSubscriberSpecificationConfig]
):
    """Describes a subscriber of timers."""

    @property
    def topic(self) -> str:
        """The full topic."""
        return f"{self._outer_config.prefix}{self.config.sub.topic}"

    @property
    def channel_labels(self) -> list[str]:
        """The topic, which is the only channel."""
        return [self.topic]

    @property
    def name(self) -> str:
        """The key of the channel."""
        return self.config.title_ or channel_key(self.topic, self.call_name)

    def get_schema(self) -> dict[str, SubscriberSpec]:
        """Describe the channel and its messages."""
        return {
            self.name: SubscriberSpec(
                address=self.topic,
                description=self.description,
                operation=Operation(
                    message=Message(
                        title=f"{self.name}:Message",
                        payload=resolve_payloads(self.get_payloads()),
                    ),
                    bindings=None,
                ),
                bindings=channel_binding(self._outer_config, self.topic, "zrange"),
            )
        }
