"""The app: starts, extends and cancels trials, and handles their timers when they are due.

At /admin/timers are web pages of its timers, for the user ops with the password of OPS_PASSWORD.

Run it alone: `REDIS_URL=redis://localhost:6379 uvicorn examples.fastapi_app.app:app`.
"""

import os
from datetime import timedelta
from hmac import compare_digest
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from faststream_fastapi import FastStreamAPI

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.web import Access, AskPassword, Request, TimerPages

TOPIC = "trials"
LONGEST = timedelta(days=14)

URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

broker = TimersBroker(URL)
web = FastAPI()


class Accounts:
    """Stands for your database."""

    def __init__(self) -> None:
        self.expired: list[str] = []


accounts = Accounts()


def get_accounts() -> Accounts:
    return accounts


# Requests and timers share FastAPI's dependencies.
AccountsDep = Annotated[Accounts, Depends(get_accounts)]


@broker.subscriber(TOPIC)
async def end_trial(user: str, accounts: AccountsDep) -> None:
    # Delivery is at least once: ask your database whether the trial has ended already.
    accounts.expired.append(user)
    print(f"The trial of {user} has ended", flush=True)


@web.post("/trials/{user}")
async def begin_trial(user: str, seconds: float = LONGEST.total_seconds()) -> dict[str, str]:
    """Let a new or a running trial end in 14 days, or in the given seconds."""
    await broker.publish(user, TOPIC, timer_id=user, activate_in=timedelta(seconds=seconds))
    return await show_trial(user)


@web.get("/trials/{user}")
async def show_trial(user: str) -> dict[str, str]:
    if trial := await broker.get_timer(TOPIC, user):
        return {"user": user, "ends_at": trial.due_at.isoformat()}
    raise HTTPException(404, f"{user} is on no trial")


@web.delete("/trials/{user}")
async def subscribe(user: str) -> dict[str, str]:
    if await broker.cancel_timer(TOPIC, user):
        return {"user": user}
    # It has ended, or its handler is running.
    raise HTTPException(404, f"{user} is on no trial")


@web.get("/expired")
async def show_expired(accounts: AccountsDep) -> list[str]:
    return accounts.expired


@web.get("/health")
async def health() -> dict[str, str]:
    if await broker.ping(timeout=1.0):
        return {"timers": "up"}
    raise HTTPException(503, "timers are not delivered")


def allow(request: Request) -> Access | AskPassword:
    """Allow users who know OPS_PASSWORD; without one, allow nobody."""
    user, password = request.credentials or ("", "")
    wanted = os.environ.get("OPS_PASSWORD", "")
    if user == "ops" and wanted and compare_digest(password.encode(), wanted.encode()):
        return Access(user, may={"run", "reschedule", "cancel", "redrive"})
    return AskPassword()


pages = TimerPages(TimersClient(URL), allow=allow, topics=[TOPIC], longest_lease=30)
web.mount("/admin/timers", pages.asgi)

# It starts and stops the broker with the web app. Register handlers before this line.
app = FastStreamAPI(broker, application=web, asyncapi_path="/timers")
