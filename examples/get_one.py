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
    # The subscriber's lease_ttl applies here too, as with handlers.
    exports = broker.subscriber(TOPIC, lease_ttl=1.0)
    async with broker:
        print("due now:", await exports.get_one(timeout=0.1))

        # get_one waits until a timer is due, without polling.
        await broker.publish("orders", topic=TOPIC, activate_in=timedelta(seconds=0.2))
        if message := await exports.get_one(timeout=10):
            print("exporting", await message.decode())
            # The timer is leased until now, as for a handler. ack() removes it from Redis.
            await message.ack()

        # You settle the timer: without ack() or reject() it is redelivered.
        await broker.publish("invoices", topic=TOPIC)
        if message := await exports.get_one(timeout=10):
            print("failed to export", await message.decode())
            await message.nack(delay=timedelta(seconds=0.2))

        await broker.publish("customers", topic=TOPIC, activate_in=timedelta(seconds=0.5))
        # Runs until you leave the loop, or the broker stops.
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
