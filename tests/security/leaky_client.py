"""A blocking program that does all it can wrong, with every log at DEBUG, and prints all it meets.

It schedules for leaky_worker.py too. What it prints must have no secret but its own arguments,
which come through the environment.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import redis
from planted import HOSTILE, say
from prometheus_client import CollectorRegistry, generate_latest

from faststream_redis_timers_sync import TimerPublishMessage, TimersClient
from faststream_redis_timers_sync.prometheus import TimersCollector

settings = json.loads(os.environ["LEAKY_SETTINGS"])
body: str = settings["body"]
header: str = settings["header"]
HOUR = timedelta(hours=1)

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)


def attempt(call: Callable[[], Any]) -> None:
    """Do something that fails, and print the error in every way."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  whatever it is
        say("ERROR:", type(error), str(error), getattr(error, "__notes__", ""))
        traceback.print_exc()
    else:
        say("NO ERROR")


def schedule_for_the_worker(timers: TimersClient) -> None:
    """Give each of the worker's topics a timer, with a secret body and a secret header."""
    headers = {"x-token": header}

    def schedule(message: Any, topic: str, **more: str) -> None:
        timers.schedule(
            message,
            topic,
            timer_id=f"id-of-{topic}{HOSTILE}",
            headers=headers | more,
            reply_to="replies",
        )

    for topic in settings["topics"]:
        schedule(body, topic)
    schedule({"address": {"zip_code": body}}, "model")
    schedule(f"{{{body}".encode(), "json", **{"content-type": "application/json"})
    schedule(b"\xff" + body.encode(), "text", **{"content-type": "text/plain"})
    message = TimerPublishMessage(body, headers={"x-token": header}, activate_in=HOUR)
    say(message, timers.schedule_batch([message, message], "later"))
    for timer in timers.iter_timers("later"):
        say(timer, repr(timer), [timer])
    say(timers.get_timer("ok", f"id-of-ok{HOSTILE}"), timers)


def misuse(timers: TimersClient) -> None:
    """Call with arguments that can't be."""
    secret = {"x": body}
    timers.schedule(body, "later", timer_id=f"taken{HOSTILE}", activate_in=HOUR)
    with redis.Redis() as other, other.pipeline() as pipeline:
        for arguments in (
            {"topic": ""},
            {"topic": secret},
            {"headers": {"x": {"y": header}}},
            {"headers": {"x": header * 9_000}},
            {"headers": [header]},
            {"message": [body, object()]},
            {"message": f"{body}\ud800"},
            {"timer_id": secret},
            {"timer_id": ""},
            {"if_exists": "error", "timer_id": f"taken{HOSTILE}", "topic": "later"},
            {"if_exists": "sometimes"},
            {"activate_in": 5},
            {"reply_to": secret},
            {"correlation_id": secret},
            {"pipeline": pipeline, "if_exists": "error"},
        ):
            attempt(
                lambda given=arguments: timers.schedule(**{"message": body, "topic": "t"} | given)
            )
    attempt(lambda: timers.cancel_timers("t", [secret]))
    attempt(lambda: timers.schedule_batch(5, "t"))
    attempt(lambda: timers.get_timer("unknown", "unknown"))
    attempt(lambda: timers.get_timer("text", f"id-of-text{HOSTILE}").decode())


def meet_outages() -> None:
    """Use wrong passwords, servers that are away, and users who may do nothing."""
    for url in settings["bad_urls"]:

        def use(url: str = url) -> None:
            with TimersClient(url) as timers:
                say(timers)
                timers.schedule(body, "t", timer_id="one", headers={"x-token": header})

        attempt(use)
    # Clients of one's own, to URLs that redis-py can read; it shows torn ones itself.
    for url in settings["bad_urls"][:3]:
        with redis.Redis.from_url(url) as client:
            attempt(partial(TimersClient(client).cancel_timer, "t", "one"))


def count() -> None:
    """Expose what topics hold, on a server that answers and on one that does not."""
    for url in (settings["url"], *settings["bad_urls"][:2]):
        registry = CollectorRegistry()
        with TimersClient(url) as timers:
            registry.register(TimersCollector(timers, ["ok", "later"]))
            say(generate_latest(registry).decode())


if __name__ == "__main__":
    with TimersClient(settings["url"]) as timers:
        schedule_for_the_worker(timers)
        misuse(timers)
    meet_outages()
    count()
    say("DONE")
