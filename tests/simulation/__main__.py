"""The command line: python -m simulation --seeds 1000, or --seed 1234 to replay one."""

# ruff: noqa: T201  printing is what it is for

import argparse
import sys
import time
from collections import Counter

from simulation.brokers.world import BrokersWorld
from simulation.cores.world import CoresWorld
from simulation.invariants import Violation
from simulation.world import run_seed

KINDS = {"cores": CoresWorld, "brokers": BrokersWorld}
"""The kinds of histories."""


def main():
    parser = argparse.ArgumentParser(
        prog="simulation",
        description=__doc__,
        epilog="Histories of cores run what decides about timers, and the scripts, without an "
        "event loop: some fifty a second. Those of brokers run all else too, on an event loop "
        "whose time is virtual: some five a second.",
    )
    parser.add_argument(
        "--kind", choices=[*KINDS, "both"], default="both", help="of which kind (default: both)"
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many histories of a kind")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed")
    parser.add_argument("--seed", type=int, help="replay this one, and print its history")
    options = parser.parse_args()
    kinds = KINDS if options.kind == "both" else [options.kind]
    if options.seed is not None:
        return max([replay(kind, options.seed) for kind in kinds])
    seeds = range(options.first, options.first + options.seeds)
    return max([simulate(kind, seeds) for kind in kinds])


def simulate(kind, seeds):
    """Run many histories of a kind; give the exit code."""
    counts = Counter()
    failed = []
    started_at = time.perf_counter()
    for number, seed in enumerate(seeds, start=1):
        try:
            counts.update(run_seed(seed, KINDS[kind]).ledger.counts)
        except Exception as error:  # noqa: BLE001  one that never ends is a failure too
            failed.append(seed)
            what = str(error) if isinstance(error, Violation) else repr(error)
            print(f"\nseed {seed}: {what}\n    replay: make simulate SEED={seed} KIND={kind}")
        if number % 50 == 0 or number == len(seeds):
            seconds = time.perf_counter() - started_at
            print(f"{number} of {len(seeds)} histories of {kind}, {seconds:.0f} s", flush=True)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    print(f"{len(failed)} of {len(seeds)} histories violate an invariant{_name(failed)}")
    return 1 if failed else 0


def _name(failed):
    return f": {', '.join(map(str, failed))}" if failed else ""


def replay(kind, seed):
    """Run one history of a kind and print it; give the exit code."""
    violation = None
    try:
        world = run_seed(seed, KINDS[kind])
    except Exception as error:  # noqa: BLE001
        violation, world = error, error.world
    print(f"a history of {kind}")
    print(world.describe())
    for line in world.ledger.history:
        print(" ".join(str(part) for part in line))
    print(violation or "nothing is violated")
    return 1 if violation else 0


if __name__ == "__main__":
    sys.exit(main())
