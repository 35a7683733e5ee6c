"""What AsyncAPI documents say about a publisher."""

from dataclasses import dataclass

from faststream.specification.asyncapi.utils import resolve_payloads
from faststream.specification.schema import Message, Operation, PublisherSpec

from faststream_redis_timers._faststream import (
    PublisherSpecification,
    PublisherSpecificationConfig,
)
from faststream_redis_timers.channels import channel_binding, channel_key
from faststream_redis_timers.configs import TimersBrokerConfig


@dataclass(kw_only=True)
class TimersPublisherSpecificationConfig(PublisherSpecificationConfig):
    """What AsyncAPI documents say about a publisher.

    Args:
        topic: The topic, without prefixes.
    """

    topic: str


class TimersPublisherSpecification(
    PublisherSpecification[TimersBrokerConfig, TimersPublisherSpecificationConfig]
):
    """Describes a publisher of timers."""

    @property
    def topic(self) -> str:
        """The full topic."""
        return f"{self._outer_config.prefix}{self.config.topic}"

    @property
    def name(self) -> str:
        """The key of the channel."""
        return self.config.title_ or channel_key(self.topic, "Publisher")

    def get_schema(self) -> dict[str, PublisherSpec]:
        """Describe the channel and its messages."""
        return {
            self.name: PublisherSpec(
                address=self.topic,
                description=self.config.description_,
                operation=Operation(
                    message=Message(
                        title=f"{self.name}:Message",
                        payload=resolve_payloads(self.get_payloads(), "Publisher"),
                    ),
                    bindings=None,
                ),
                bindings=channel_binding(self._outer_config, self.topic, "zadd"),
            )
        }
