"""Six classic bugs, each put into the product for as long as a context lasts.

Every one of them has been in some library of timers or delayed jobs. The simulation has to
find them: `FOUND_IN` of `test_simulation.py` says in which histories it does.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from simulation.cores.calls import Caller
from simulation.cores.driver import Driver

from faststream_redis_timers import TimerOutcomeUnknownError
from faststream_redis_timers.calls.runner import Runner
from faststream_redis_timers.delivery.leases import Leases
from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
from faststream_redis_timers.subscriber.loop import DeliveryLoop
from faststream_redis_timers_sync.protocol import operations
from faststream_redis_timers_sync.protocol.operation import Script
from faststream_redis_timers_sync.protocol.operations import Operations


@contextmanager
def commit_without_token() -> Iterator[None]:
    """A commit removes the timer even if another worker has leased it."""
    with _other_script(
        "if not lease then",
        "if not score or not lease and action ~= 'commit' then",
        "score and find_lease(score, leases) and '1'",
        "score and '1'",
    ):
        yield


@contextmanager
def lease_on_workers_clock() -> Iterator[None]:
    """What is due and how long a lease lasts is judged by the clock of the worker."""
    make = Operations.settle_and_claim

    def by_own_clock(self, *args, **options):
        operation = make(self, *args, **options)
        seconds, microseconds = divmod(round(time.time() * 1e6), 1_000_000)
        arguments = list(operation.args)
        # The key of the attempts is before those that Lua counts.
        arguments[3] = b"%d.%06d" % (seconds, microseconds)
        return operation._replace(args=arguments)

    with (
        _other_script(
            "now_microseconds = server_time()",
            "now_microseconds = split_time(ARGV[3])",
            "0, tonumber(ARGV[3])",
            "0, 0",
        ),
        mock.patch.object(Operations, "settle_and_claim", by_own_clock),
    ):
        yield


@contextmanager
def any_claim_as_renewal() -> Iterator[None]:
    """A claim of an id whose handler runs here is taken for that handler's renewal."""

    def find_by_id(self, claimed):
        return self._timers.get(claimed.timer_id)

    with mock.patch.object(Leases, "find", find_by_id):
        yield


@contextmanager
def cancelled_claim() -> Iterator[None]:
    """A stop cancels the claim that is on its way."""
    begin_stop, stop = DeliveryLoop.begin_stop, Driver.stop

    def cancel_and_stop(self):
        begin_stop(self)
        if self._claiming:
            self._task.cancel()

    def cancel_and_stop_driver(self, graceful_timeout):
        if self._claiming:
            self._loop.throw(asyncio.CancelledError())
        yield from stop(self, graceful_timeout)

    with (
        mock.patch.object(DeliveryLoop, "begin_stop", cancel_and_stop),
        mock.patch.object(Driver, "stop", cancel_and_stop_driver),
    ):
        yield


@contextmanager
def repeated_publish() -> Iterator[None]:
    """A call whose reply is lost is made again, as redis-py would."""
    run, run_in_a_core = Runner.run, Caller._run

    async def run_again(self, operation, timeout=None):
        try:
            return await run(self, operation, timeout)
        except TimerOutcomeUnknownError:
            if operation.action != "schedule":
                raise
            return await run(self, operation, timeout)

    def run_again_in_a_core(self, operation):
        try:
            return (yield from run_in_a_core(self, operation))
        except TimerOutcomeUnknownError:
            if operation.action != "schedule":
                raise
            return (yield from run_in_a_core(self, operation))

    with (
        mock.patch.object(Runner, "run", run_again),
        mock.patch.object(Caller, "_run", run_again_in_a_core),
    ):
        yield


@contextmanager
def repeated_from_due_time() -> Iterator[None]:
    """The next time counts from when a timer was due, or its lease has ended, not its claim."""
    read = SettlementPolicy.read

    def count_from_score(self, claimed, claimed_at):
        return read(self, claimed, float(claimed.previous_score))

    with mock.patch.object(SettlementPolicy, "read", count_from_score):
        yield


@contextmanager
def _other_script(*changes):
    """Change the text of the worker's script: what stands there, what shall stand there."""
    load = operations.load_script
    original = load("settle_and_claim")
    text = original.text.decode()
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in text, f"the script has changed, it has no {old!r}"
        text = text.replace(old, new)
    changed = text.encode()
    sha = hashlib.sha1(changed, usedforsecurity=False).hexdigest().encode()
    other = Script(original.name, changed, sha)

    def load_script(name, *dialect):
        return other if name == "settle_and_claim" else load(name, *dialect)

    with mock.patch.object(operations, "load_script", load_script):
        yield


BUGS = {
    "commit without the token": commit_without_token,
    "lease on the worker's clock": lease_on_workers_clock,
    "any claim of a running id taken as its renewal": any_claim_as_renewal,
    "a cancelled claim at stop": cancelled_claim,
    "a repeated publish": repeated_publish,
    "the next time counted from the due time": repeated_from_due_time,
}
"""Each by what it is called."""
