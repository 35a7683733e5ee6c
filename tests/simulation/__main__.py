"""The command line: python -m simulation --seeds 1000, or --seed 1234 to replay one."""

# ruff: noqa: T201  printing is what it is for

import argparse
import sys
import time
from collections import Counter

from simulation.brokers.world import BrokersWorld
from simulation.invariants import Violation
from simulation.world import run_seed


def main():
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed")
    parser.add_argument("--seed", type=int, help="replay this one, and print its history")
    options = parser.parse_args()
    if options.seed is not None:
        return replay(options.seed)
    return simulate(range(options.first, options.first + options.seeds))


def simulate(seeds):
    """Run many histories; give the exit code."""
    counts = Counter()
    failed = []
    started_at = time.perf_counter()
    for number, seed in enumerate(seeds, start=1):
        try:
            counts.update(run_seed(seed, BrokersWorld).ledger.counts)
        except Exception as error:  # noqa: BLE001  one that never ends is a failure too
            failed.append(seed)
            what = str(error) if isinstance(error, Violation) else repr(error)
            print(f"\nseed {seed}: {what}\n    replay: make simulate SEED={seed}")
        if number % 50 == 0 or number == len(seeds):
            seconds = time.perf_counter() - started_at
            print(f"{number} of {len(seeds)} histories, {seconds:.0f} s", flush=True)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    print(f"{len(failed)} of {len(seeds)} histories violate an invariant{_name(failed)}")
    return 1 if failed else 0


def _name(failed):
    return f": {', '.join(map(str, failed))}" if failed else ""


def replay(seed):
    """Run one history and print it; give the exit code."""
    violation = None
    try:
        world = run_seed(seed, BrokersWorld)
    except Exception as error:  # noqa: BLE001
        violation, world = error, error.world
    print(world.describe())
    for line in world.ledger.history:
        print(" ".join(str(part) for part in line))
    print(violation or "nothing is violated")
    return 1 if violation else 0


if __name__ == "__main__":
    sys.exit(main())
