"""Timers without a handler: a script asks for them one by one.

python -m examples.get_one
"""

import asyncio
from datetime import timedelta

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimersBroker

TOPIC = "example-exports"


async def main(url: str) -> None:
    broker = TimersBroker(url)
    # How long a timer is ours is the subscriber's option, as it is with handlers.
    exports = broker.subscriber(TOPIC, lease_ttl=1.0)
    async with broker:
        print("due now:", await exports.get_one(timeout=0.1))

        # It waits for a timer that falls due meanwhile, and does not poll for it.
        await broker.publish("orders", topic=TOPIC, activate_in=timedelta(seconds=0.2))
        if message := await exports.get_one(timeout=10):
            print("exporting", await message.decode())
            # Until this it is leased to us, as to a handler. Then it leaves Redis.
            await message.ack()

        # Who asks settles: what is neither acknowledged nor rejected comes again.
        await broker.publish("invoices", topic=TOPIC)
        if message := await exports.get_one(timeout=10):
            print("failed to export", await message.decode())
            await message.nack(delay=timedelta(seconds=0.2))

        await broker.publish("customers", topic=TOPIC, activate_in=timedelta(seconds=0.5))
        # Without an end: until the loop is left, or the broker stops.
        async for message in exports:
            name = await message.decode()
            print("exporting", name)
            await message.ack()
            if name == "customers":
                break

        print("pending:", await broker.count_pending(TOPIC))


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
