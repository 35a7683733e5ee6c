"""What AsyncAPI documents say of a subscriber, and how channels of timers are described."""

from faststream.specification.asyncapi.utils import resolve_payloads
from faststream.specification.schema import Message, Operation, SubscriberSpec
from faststream.specification.schema.bindings import ChannelBinding, redis

from faststream_redis_timers._faststream import SubscriberSpecification
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
        """The topic is the one channel."""
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


def channel_key(topic: str, name: str) -> str:
    """Make the key of a channel.

    "Try it out" on FastStream's page takes what is before the first colon for the topic, so
    those of the topic become dots. The channel's address is the topic as it is.

    Args:
        topic: The full topic.
        name: What sets this channel apart from others of the topic.
    """
    return f"{topic.replace(':', '.')}:{name}"


def channel_binding(config: TimersBrokerConfig, topic: str, method: str) -> ChannelBinding:
    """Tell the key in Redis where the timers of a topic wait.

    Args:
        config: The broker's configuration.
        topic: The full topic.
        method: The command by which they come there, or are taken.
    """
    timeline = config.operations.keys.of(topic).timeline.decode()
    return ChannelBinding(redis=redis.ChannelBinding(channel=timeline, method=method))
