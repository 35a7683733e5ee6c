"""What tests with real faults share, and the table that they fill."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet
from ledger import Row, kept_row, read_row, table, told_rows
from servers import Server, short_folder
from stalls import Stalls, watched

from faststream_redis_timers_sync import TimersClient


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Take a row into the table at the end of the session."""
    kept = request.node.user_properties
    return lambda row: kept.append(("row", kept_row(row)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the table of faults: of processes that had a journal, and of what tests told."""
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.getreports(kind)]
    kept = [one for report in reports for one in report.user_properties]
    told = [facts for name, facts in kept if name == "fault" and "scheduled" in facts]
    rows = [read_row(row) for name, row in kept if name == "row"]
    if rows := [*rows, *told_rows(told)]:
        terminalreporter.section("faults")
        for line in table(rows):
            terminalreporter.line(line)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the test's own, which keeps all that it has answered."""
    with short_folder() as folder:
        server = Server(folder).start()
        yield server
        server.close()


@pytest.fixture
def fleet(server: Server, tmp_path: Path) -> Iterator[Fleet]:
    """Workers and producers on that server."""
    fleet = Fleet(tmp_path, server.url)
    yield fleet
    fleet.close()


@pytest.fixture
def client(server: Server) -> Iterator[TimersClient]:
    """A client of that server."""
    with TimersClient(server.url) as client:
        yield client


@pytest.fixture
def stalls() -> Iterator[Stalls]:
    """How long the machine keeps this process waiting, from now on."""
    with watched() as stalls:
        yield stalls
