"""How AsyncAPI documents describe the channels of subscribers and publishers."""

from faststream.specification.schema.bindings import ChannelBinding, redis

from faststream_redis_timers.configs import TimersBrokerConfig


def channel_key(topic: str, name: str) -> str:
    """Return the key of a channel.

    "Try it out" on FastStream's page uses the part before the first colon as the topic, so the
    topic's colons become dots. The channel's address is the topic unchanged.

    Args:
        topic: The full topic.
        name: Distinguishes this channel from others of the topic.
    """
    return f"{topic.replace(':', '.')}:{name}"


def channel_binding(config: TimersBrokerConfig, topic: str, method: str) -> ChannelBinding:
    """Return the binding with the Redis key of a topic's timeline.

    Args:
        config: The broker's configuration.
        topic: The full topic.
        method: The command that adds timers, or claims them.
    """
    timeline = config.operations.keys.of(topic).timeline.decode()
    return ChannelBinding(redis=redis.ChannelBinding(channel=timeline, method=method))
