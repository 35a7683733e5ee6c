"""The code of docs/flask.md does what the page says."""

import re

import pytest
from command_line import ROOT

from faststream_redis_timers_sync.testing import FakeTimersClient

PAGE = (ROOT / "docs" / "flask.md").read_text()
APP, SERIES, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def page():
    """The names that the page's code defines."""
    names = {"__name__": "page"}
    exec(APP, names)  # noqa: S102  it is our page
    exec(TEST, names)  # noqa: S102
    return names


def test_the_app_works_on_a_server(page, server_url, key_config):
    app = page["create_app"](TIMERS_URL=server_url, **key_config)
    web = app.test_client()

    assert web.post("/invoices/INV-001").json == {"sent": "INV-001"}
    assert web.delete("/invoices/INV-001").json == {"cancelled": True}
    assert web.get("/health").json == {"timers": True}


def test_the_test_passes(page, timers):
    page["test_an_invoice_is_due_after_30_days"](timers)


def test_the_series_are_ensured(make_app):
    names = {}
    exec(SERIES, names)  # noqa: S102  it is our page
    fake = FakeTimersClient()
    app = make_app(
        TIMERS_CLIENT=lambda: fake, TIMERS_SERIES=names["SERIES"], TIMERS_SERIES_OWNER="shop"
    )

    for command in ([], ["--check"], ["--prune"]):
        result = app.test_cli_runner().invoke(args=["timers", "series", *command])
        assert result.exit_code == 0
    assert fake.get_timer("reports", "daily").repeat == names["WEEKDAYS"]


def test_the_table_has_all_keys_of_the_config(make_app):
    keys = set(re.findall(r"`(TIMERS_\w+)`", PAGE.partition("## Configuration")[2]))

    with pytest.raises(ValueError) as raised:
        make_app(TIMERS_="")
    assert keys == set(re.findall(r"TIMERS_\w+", str(raised.value).partition("may have")[2]))
