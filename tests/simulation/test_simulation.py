"""Histories of workers and producers in virtual time: nothing of what is promised is broken.

The invariants stand in `invariants.py`. A seed that fails is replayed, with its history, by
``make simulate SEED=...``.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from simulation.__main__ import replay, simulate
from simulation.brokers.world import BrokersWorld
from simulation.bugs import BUGS
from simulation.invariants import INVARIANTS, Violation
from simulation.world import run_seed

ROOT = Path(__file__).parent.parent.parent
HISTORIES = 100
GROUP = 10

FOUND_IN = {
    "commit without the token": 1,
    "lease on the worker's clock": 0,
    "any claim of a running id taken as its renewal": 6,
    "a cancelled claim at stop": 5,
    "a repeated publish": 26,
}
"""A history that finds each bug. Whatever changes in the product or below it may shuffle the
histories, so others are tried after it."""

WITHIN = {
    "commit without the token": 20,
    "lease on the worker's clock": 10,
    "any claim of a running id taken as its renewal": 80,
    "a cancelled claim at stop": 80,
    "a repeated publish": 120,
}
"""Histories within which each bug is found at the latest."""


def run_seeds(seeds):
    for seed in seeds:
        run_seed(seed, BrokersWorld)


@pytest.mark.parametrize("first", range(0, HISTORIES, GROUP))
def test_no_invariant_is_violated(first):
    run_seeds(range(first, first + GROUP))


@pytest.mark.parametrize("seed", [3, 24])
def test_a_seed_gives_the_same_history_each_time(seed):
    assert (
        run_seed(seed, BrokersWorld).ledger.history == run_seed(seed, BrokersWorld).ledger.history
    )


def test_a_seed_gives_the_same_history_in_another_process():
    told = {
        subprocess.run(
            [sys.executable, "-m", "simulation", "--seed", "5"],
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


@pytest.mark.parametrize("name", BUGS)
def test_a_classic_bug_is_found(name):
    with BUGS[name](), pytest.raises(Violation):
        run_seeds([FOUND_IN[name], *range(WITHIN[name])])


def test_a_violation_says_what_should_have_held_and_how_to_see_it(capsys):
    with BUGS["lease on the worker's clock"]():
        assert simulate(range(WITHIN["lease on the worker's clock"])) == 1
    told = capsys.readouterr().out
    seed = re.search(r"replay: make simulate SEED=(\d+)", told)[1]
    with BUGS["lease on the worker's clock"]():
        assert replay(int(seed)) == 1
    history = capsys.readouterr().out
    assert "VIOLATED" in history
    assert any(sentence in history for sentence in INVARIANTS.values())
