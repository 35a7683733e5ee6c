"""What a worker spends on a timer, part by part: ``python -m benchmarks.parts``.

Nothing is sent: a reply stands in for a claim of 100 timers with JSON bodies of 200 bytes, and
another for the step that settles them. CPU time of this process, the parts in turns.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from benchmarks.systems.harness import make_body
from faststream_redis_timers.decoding import decode
from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.delivery.core import Call, DeliveryCore, Draws
from faststream_redis_timers.delivery.leased import Claim, LeasedTimer
from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
from faststream_redis_timers.delivery.slots import Suspects
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.encoding import encode_message
from faststream_redis_timers_sync.protocol.envelope import (
    EnvelopeReader,
    read_envelope,
    write_envelope,
)
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.steps import step_parser

if TYPE_CHECKING:
    from faststream_redis_timers_sync.protocol.model import Step

COUNT = 100
"""Timers of a claim."""

_read_step = step_parser(is_counted=False, has_roster=False)
NOW, LEASE = b"1800000000.000000", b"1800000030.0000005"
_MICROSECONDS = 1e6


def write_claim(count: int, *, is_traced: bool = False) -> bytes:
    """Write the reply of a claim.

    Args:
        count: Timers in it.
        is_traced: Whether each has headers of its own.
    """
    words, data = [NOW, LEASE, LEASE, b"-", b"%d" % count], []
    for number in range(count):
        body, content_type = encode_message(make_body(1.8e9, number))
        payload = write_envelope(
            body,
            content_type=content_type,
            headers={"traceparent": f"00-{number:032x}-{number:016x}-01"} if is_traced else None,
        )
        timer_id = b"%032x" % (number << 100)
        words += (b"%d" % len(timer_id), b"%d" % len(payload), b"1799999999.%06d" % number)
        data += (timer_id, payload)
    return b" ".join(words) + b"\n" + b"".join(data)


class Driver:
    """Drives a core that is asked by hand, in a time that stands still."""

    draws = Draws(lambda: 0.5, lambda: 0)

    def __init__(self, count: int) -> None:
        """Make the core, with a slot for each timer."""
        sub = TimerSub(topic="bench", max_concurrent=count)
        settlement_policy = SettlementPolicy("bench", None, None, lambda *_: None)
        self.core: DeliveryCore[TimerDelivery] = DeliveryCore(
            sub,
            topic="bench",
            operations=Operations(KeySpace()),
            settlement_policy=settlement_policy,
            suspects=Suspects(),
            driver=self,
            make_timer=TimerDelivery,
            log=lambda *_: None,
        )

    def stir(self) -> None:
        """Do nothing: it is asked again anyhow."""

    def now(self) -> float:
        """Tell the time."""
        return 0.0

    def settle(self, timers: Sequence[LeasedTimer], action: bytes, detail: bytes, /) -> None:
        """Send a settlement with the next call."""
        self.core.settle(timers, action, detail, 0.0)

    def propose_lease(self, lease_ttl: float, /) -> bytes:
        """Propose a lease."""
        return self.core.propose_lease(lease_ttl, 0.0)

    def free_slot(self, timer: LeasedTimer, /) -> None:
        """Count its slot as free."""
        self.core.free_slot(timer)


class Parts:
    """The parts, each to be run by itself.

    Args:
        count: Timers of a claim.
    """

    def __init__(self, count: int) -> None:
        """Write the replies."""
        self._count = count
        self._reply = write_claim(count)
        self._step = _read_step(self._reply)
        self._envelopes = [read_envelope(each.payload) for each in self._step.claimed]
        self._traced = _read_step(write_claim(count, is_traced=True))
        self._driver = driver = Driver(count)
        settlement_policy = SettlementPolicy("bench", None, None, lambda *_: None)
        self._claim = Claim("bench", LEASE, 30.0, 1.8e9, 0.0, 30.0, settlement_policy, driver)

    def read_reply(self) -> None:
        """Read the reply."""
        _read_step(self._reply)

    def read_envelopes(self) -> None:
        """Read envelopes whose headers are the same."""
        self._read_envelopes(self._step)

    def read_traced(self) -> None:
        """Read envelopes that have headers of their own."""
        self._read_envelopes(self._traced)

    @staticmethod
    def _read_envelopes(step: "Step") -> None:
        read = EnvelopeReader().read
        for claimed in step.claimed:
            read(claimed.payload)

    def decode_bodies(self) -> None:
        """Decode the bodies."""
        for body, headers in self._envelopes:
            decode(body, headers.get("content-type"))

    def make_timers(self) -> None:
        """Make the leased timers."""
        for claimed, envelope in zip(self._step.claimed, self._envelopes, strict=True):
            TimerDelivery(self._claim, claimed, envelope)

    def take(self) -> list[TimerDelivery]:
        """Take the timers of a reply in: envelopes, timers, slots, leases."""
        call = self._call()
        return self._driver.core.answered(call, self._step, 0.0, 0.0)

    def settle(self, timers: list[TimerDelivery]) -> None:
        """Commit timers, write the call, read the reply."""
        for timer in timers:
            timer.commit_soon()
            self._driver.core.ended(timer)
        call = self._call()
        call.operation.pack()
        words = (NOW, b"-", b"-", b"1" * self._count, b"0")
        step: Step = call.operation.parse(b" ".join(words) + b"\n")
        self._driver.core.answered(call._replace(limit=0), step, 0.0, 0.0)

    def _call(self) -> Call:
        self._driver.core.poll_now()
        call = self._driver.core.next(0.0)
        if not isinstance(call, Call):
            msg = f"a call was expected, got {call!r}"
            raise TypeError(msg)
        return call


def measure(turns: int) -> dict[str, list[float]]:
    """Measure all parts.

    Args:
        turns: How often.

    Returns:
        By name, microseconds a timer of each turn.
    """
    parts = Parts(COUNT)
    taken: dict[str, list[float]] = {}

    def run(name: str, part: Callable[[], object]) -> None:
        before = time.process_time()
        part()
        spent = time.process_time() - before
        taken.setdefault(name, []).append(_MICROSECONDS * spent / COUNT)

    timers: list[TimerDelivery] = []
    for _ in range(turns):
        run("reply", parts.read_reply)
        run("envelopes", parts.read_envelopes)
        run("envelopes, headers of their own", parts.read_traced)
        run("bodies", parts.decode_bodies)
        run("objects", parts.make_timers)
        run("intake (envelopes, objects, slots)", lambda: timers.extend(parts.take()))
        run("settlement", lambda: parts.settle(timers))
        timers.clear()
    return taken


@click.command()
@click.option(
    "--turns", type=click.IntRange(min=1), default=300, show_default=True, help="Turns to measure."
)
def main(*, turns: int) -> None:
    """Measure what a worker spends on a timer, part by part."""
    taken = measure(turns)
    table = Table("part", "median us", "10%", "90%", box=None, padding=(0, 2, 0, 0))
    for name, values in taken.items():
        tenths = statistics.quantiles(values, n=10) if len(values) > 1 else values * 9
        table.add_row(
            name, *(f"{v:.2f}" for v in (statistics.median(values), tenths[0], tenths[-1]))
        )
    Console().print(table)
    Console().print(f"{COUNT} timers, {turns} turns, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
