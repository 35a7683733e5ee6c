"""How AsyncAPI documents describe the channels of subscribers and publishers."""

from faststream.specification.schema.bindings import ChannelBinding, redis

from faststream_redis_timers.configs import TimersBrokerConfig


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
