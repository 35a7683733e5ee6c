"""Everything at once for a minute; `make soak MINUTES=10` does it for longer."""

import random

from soak import Soak

SECONDS = 60.0


def test_a_minute_of_everything_at_once_loses_nothing(server, tmp_path, record, capsys):
    seed = random.randrange(2**32)
    lines = [f"seed {seed}"]
    soak = Soak(tmp_path, server, seed, lines.append)
    ledger = soak.run(SECONDS)

    ledger.check()
    for row in soak.rows(ledger):
        record(row._replace(fault=f"soak: {row.fault}"))
