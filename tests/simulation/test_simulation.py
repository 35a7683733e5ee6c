"""Histories of workers and producers in virtual time: nothing of what is promised is broken.

The invariants stand in `invariants.py`. A seed that fails is replayed, with its history, by
``make simulate SEED=... KIND=...``.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from simulation.__main__ import KINDS, replay, simulate
from simulation.bugs import BUGS
from simulation.invariants import INVARIANTS, Violation
from simulation.world import run_seed

ROOT = Path(__file__).parent.parent.parent

GROUPS = {"cores": range(0, 1000, 100), "brokers": range(0, 100, 10)}
"""The first seeds of groups of histories."""

FOUND_IN = {
    "commit without the token": {"cores": 12, "brokers": 1},
    "lease on the worker's clock": {"cores": 0, "brokers": 0},
    "any claim of a running id taken as its renewal": {"cores": 25, "brokers": 6},
    "a cancelled claim at stop": {"cores": 35, "brokers": 5},
    "a repeated publish": {"cores": 2, "brokers": 26},
    "the next time counted from the due time": {"cores": 20, "brokers": 10},
}
"""A history that finds each bug. Whatever changes in the product or below it may shuffle the
histories, so others are tried after it."""

WITHIN = {
    "commit without the token": {"cores": 100, "brokers": 20},
    "lease on the worker's clock": {"cores": 20, "brokers": 10},
    "any claim of a running id taken as its renewal": {"cores": 400, "brokers": 80},
    "a cancelled claim at stop": {"cores": 400, "brokers": 80},
    "a repeated publish": {"cores": 200, "brokers": 120},
    "the next time counted from the due time": {"cores": 100, "brokers": 60},
}
"""Histories within which each bug is found at the latest."""

VIOLATES = {
    "commit without the token": {"foreign"},
    "lease on the worker's clock": {"early"},
    "any claim of a running id taken as its renewal": {"as asked", "lost"},
    "a cancelled claim at stop": {"held after stop"},
    "a repeated publish": {"once"},
    "the next time counted from the due time": {"recurs"},
}
"""What each bug breaks by itself. Other violations may follow from it, or from one that was put
into the product wrongly: they do not count."""

each_kind = pytest.mark.parametrize("kind", KINDS)


def run_seeds(kind, seeds):
    for seed in seeds:
        run_seed(seed, KINDS[kind])


@pytest.mark.parametrize(
    ("kind", "seeds"),
    [
        pytest.param(kind, range(first, first + firsts.step), id=f"{kind}-{first}")
        for kind, firsts in GROUPS.items()
        for first in firsts
    ],
)
def test_no_invariant_is_violated(kind, seeds):
    run_seeds(kind, seeds)


@each_kind
@pytest.mark.parametrize("seed", [3, 24])
def test_a_seed_gives_the_same_history_each_time(kind, seed):
    first, second = (run_seed(seed, KINDS[kind]) for _ in range(2))
    assert first.ledger.history == second.ledger.history


@each_kind
def test_a_seed_gives_the_same_history_in_another_process(kind):
    told = {
        subprocess.run(
            [sys.executable, "-m", "simulation", "--seed", "5", "--kind", kind],
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
                # Sets of strings are in another order there.
                "PYTHONHASHSEED": hash_seed,
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(told) == 1
    assert "handler starts" in told.pop()


@each_kind
@pytest.mark.parametrize("name", BUGS)
def test_a_classic_bug_is_found(kind, name):
    others = Counter()
    for seed in [FOUND_IN[name][kind], *range(WITHIN[name][kind])]:
        try:
            with BUGS[name]():
                run_seed(seed, KINDS[kind])
        except Violation as violation:
            if violation.name in VIOLATES[name]:
                return
            others[violation.name] += 1
    pytest.fail(f"{name} is not found; other violations: {dict(others)}")


@each_kind
def test_a_violation_says_what_should_have_held_and_how_to_see_it(kind, capsys):
    with BUGS["lease on the worker's clock"]():
        assert simulate(kind, range(10)) == 1
    told = capsys.readouterr().out
    seed, named = re.search(r"replay: make simulate SEED=(\d+) KIND=(\w+)", told).groups()
    assert named == kind
    with BUGS["lease on the worker's clock"]():
        assert replay(kind, int(seed)) == 1
    history = capsys.readouterr().out
    assert "VIOLATED" in history
    assert any(sentence in history for sentence in INVARIANTS.values())
