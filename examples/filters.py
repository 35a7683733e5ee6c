"""Several handlers of one topic: a timer goes to the first whose filter accepts it.

python -m examples.filters
"""

import asyncio
from typing import Any

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimersBroker, TimersRouter
from faststream_redis_timers.annotations import Logger, TimerMessage

TOPIC = "example-reminders"

router = TimersRouter()
sent: asyncio.Queue[str] = asyncio.Queue()

# Options of the topic, such as leases and concurrency, belong to its subscriber.
reminders = router.subscriber(TOPIC, max_concurrent=2)


def by(channel: str) -> Any:
    """Return a filter. It gets the message, and can be asynchronous."""
    return lambda message: message.headers.get("channel") == channel


async def send(line: str) -> None:
    print(line)
    await sent.put(line)


@reminders(filter=by("email"))
async def send_email(customer: str) -> None:
    await send(f"email to {customer}")


async def spell(message: Any, decode: Any) -> str:
    return "-".join(await decode(message))


# A handler can also have its own decoder, parser and dependencies.
@reminders(filter=by("phone"), decoder=spell)
async def call(customer: str) -> None:
    await send(f"call to {customer}")


# A handler without a filter accepts all other timers. Without it, a timer that no filter accepts
# is logged as an error and retried, because a newer worker may accept it.
@reminders
async def send_letter(customer: str, message: TimerMessage, logger: Logger) -> None:
    logger.info("timer %s has no channel that we know", message.timer_id)
    await send(f"letter to {customer}")


async def main(url: str) -> None:
    broker = TimersBroker(url)
    broker.include_router(router)
    async with broker:
        for customer, channel in (("ada", "email"), ("bob", "phone"), ("cyd", "pigeon")):
            await broker.publish(customer, topic=TOPIC, headers={"channel": channel})
        for _ in range(3):
            await asyncio.wait_for(sent.get(), timeout=10)


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
