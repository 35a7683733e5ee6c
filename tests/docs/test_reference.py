"""The reference pages say what the code does: metrics, keys, envelope, scripts, commands."""

import pytest
from pages import DOCS, rows_of
from prometheus_client import CollectorRegistry

from docs_site import made, wire
from faststream_redis_timers.prometheus import TimersPrometheusMiddleware
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.prometheus import _LABELS, TimersCollector
from faststream_redis_timers_sync.protocol import dead_letters, errors
from faststream_redis_timers_sync.protocol.envelope import read_envelope
from faststream_redis_timers_sync.protocol.operation import load_script

METRICS = (DOCS / "reference" / "metrics.md").read_text()


def listed(text):
    return [name.strip("` ") for name in text.split(",") if name.strip()]


def test_metrics_of_brokers():
    registry = CollectorRegistry()
    TimersPrometheusMiddleware(registry=registry)
    wanted = {}
    for collector in registry._collector_to_names:
        name = collector._name + ("_total" if collector._type == "counter" else "")
        labels = [name for name in collector._labelnames if name not in {"app_name", "broker"}]
        wanted[name] = (collector._type, labels)
    rows = rows_of(METRICS, "Broker metrics")
    found = {row[0].strip("`"): (row[1], listed(row[2])) for row in rows}
    assert found == wanted


def test_metrics_of_topics():
    with TimersClient("redis://localhost") as timers:
        families = TimersCollector(timers, ["a"]).describe()
        wanted = {family.name: _LABELS[family.name.partition("timers_")[2]] for family in families}
    found = {row[0].strip("`"): listed(row[1]) for row in rows_of(METRICS, "Topic metrics")}
    assert found == wanted


def test_headers_of_dead_letters():
    page = (DOCS / "reference" / "wire.md").read_text()
    found = [row[0].strip("`") for row in rows_of(page, "Dead letters")]
    names = ("REASON", "TOPIC", "TIMER_ID", "DUE_AT", "ATTEMPTS", "ERROR", "BODY")
    assert found == [getattr(dead_letters, name) for name in names]
    found = [row[0].strip("`") for row in rows_of(page, "Occurrences")]
    names = ("DEFINITION", "SERIES_ID", "OCCURRENCE")
    assert found == [getattr(dead_letters, name) for name in names]


def test_the_worked_envelope_is_what_the_library_writes_and_reads():
    envelope = wire.example()
    assert b"".join(raw for _, raw, _ in wire.parts(envelope)) == envelope
    assert wire.write_by_hand() == envelope
    body, headers = read_envelope(envelope)
    assert body == wire.BODY
    assert headers == {
        "correlation_id": "order-7",
        "content-type": "application/json",
        **wire.HEADERS,
    }


def test_the_dump_shows_each_byte_once():
    cells = [line.split("|")[2] for line in wire.hex_dump().splitlines()[2:]]
    shown = bytes.fromhex("".join(cells).replace("`", " ").replace("<br>", " "))
    assert shown == wire.example()


def test_each_script_is_told_with_its_keys_and_reply():
    text = made.scripts()
    names = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert "settle_and_claim" in names
    for name in names:
        part = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert "\nKEYS " in part
        assert "\nReply " in part
        body = load_script(name).text.decode()
        assert part.partition("```lua\n")[2].splitlines()[0].strip() in body


@pytest.mark.parametrize("name", group.commands)
def test_each_command_is_told_with_its_options(name):
    part = made.commands().partition(f"## {name}\n")[2].partition("## ")[0]
    options = [param for param in group.commands[name].params if param.param_type_name == "option"]
    assert options
    for option in options:
        assert max(option.opts, key=len) in part


def test_the_tree_of_errors_has_them_all():
    tree = made.error_tree()
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert name in tree
