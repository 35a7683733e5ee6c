"""Everything at once for a minute; `make soak MINUTES=10` does it for longer."""

import random

import pytest
from soak import Soak, a_cluster, a_server

SECONDS = 60.0


@pytest.mark.parametrize("place", [a_server, a_cluster])
def test_a_minute_of_everything_at_once_loses_nothing(place, tmp_path, record):
    seed = random.randrange(2**32)
    lines = [f"seed {seed}"]
    with place() as where:
        soak = Soak(tmp_path, where, seed, lines.append)
        ledger = soak.run(SECONDS)

    ledger.check()
    for row in soak.rows(ledger):
        record(row._replace(fault=f"soak, {place.__name__}: {row.fault}"))
