"""Replies: a handler's result becomes a timer, due now, on the topic that the caller names.

python -m examples.replies
"""

import asyncio
from datetime import timedelta

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimerResponse, TimersBroker, TimersRouter
from faststream_redis_timers.annotations import TimerMessage

router = TimersRouter()
answers: asyncio.Queue[str] = asyncio.Queue()


@router.subscriber("example-checks")
async def check(number: str) -> str:
    return f"{number} is paid"


@router.subscriber("example-slow-checks")
async def check_slowly(number: str) -> TimerResponse:
    # A reply can have its own time and id.
    return TimerResponse(
        f"{number} is overdue", activate_in=timedelta(seconds=0.2), timer_id=f"answer:{number}"
    )


@router.subscriber("example-silent-checks", no_reply=True)
async def check_silently(number: str) -> str:
    return f"nobody will hear of {number}"


# Timers have no `request()`: a reply comes when the question was due, perhaps in a month, and
# goes to whichever process handles its topic then. The correlation id identifies the question.
@router.subscriber("example-answers")
async def hear(answer: str, message: TimerMessage) -> None:
    print(f"{message.correlation_id}: {answer}")
    await answers.put(answer)


async def main(url: str) -> None:
    broker = TimersBroker(url)
    broker.include_router(router)
    async with broker:
        for topic, number in (
            ("example-silent-checks", "INV-000"),
            ("example-checks", "INV-001"),
            ("example-slow-checks", "INV-002"),
        ):
            await broker.publish(
                number, topic=topic, reply_to="example-answers", correlation_id=f"question {number}"
            )
        for _ in range(2):
            await asyncio.wait_for(answers.get(), timeout=10)


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
