"""Headers and the correlation id: set them when you schedule, read them in the handler.

python -m examples.headers_and_tracing
"""

import asyncio
from typing import Annotated

from faststream import Context

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimersBroker, TimersRouter

INVOICES = "example-invoices"
RECEIPTS = "example-receipts"

router = TimersRouter()
finished = asyncio.Event()

CorrelationId = Annotated[str, Context("message.correlation_id")]
Tenant = Annotated[str, Context("message.headers.x-tenant")]


# A handler's result becomes a new timer with the same correlation id. So you can follow
# one id through logs and services from the first timer to the last.
@router.publisher(RECEIPTS)
@router.subscriber(INVOICES)
async def pay(number: str, correlation_id: CorrelationId, tenant: Tenant) -> str:
    print(f"paying {number} for {tenant}, traced as {correlation_id}")
    return f"receipt of {number}"


@router.subscriber(RECEIPTS)
async def file(receipt: str, correlation_id: CorrelationId) -> None:
    print(f"filing the {receipt}, traced as {correlation_id}")
    finished.set()


async def main(url: str) -> None:
    broker = TimersBroker(url)
    broker.include_router(router)
    async with broker:
        await broker.publish(
            "INV-001",
            topic=INVOICES,
            headers={"x-tenant": "José & Søn"},
            # By default it is the timer's id.
            correlation_id="order-4711",
        )
        await asyncio.wait_for(finished.wait(), timeout=10)


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
