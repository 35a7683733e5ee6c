"""The Grafana dashboard: its queries find what a scrape of a worker and a collector has."""

import json
import re
from itertools import combinations

import pytest
from command_line import ROOT
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.prometheus import TimersPrometheusMiddleware
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.prometheus import TimersCollector

BOARD = json.loads((ROOT / "dashboards" / "faststream-redis-timers.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
TOPIC = "invoices"

SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
GROUPING = re.compile(r"\bby \(([^)]*)\)")
FUNCTIONS = {"sum", "max", "min", "rate", "histogram_quantile"}


@pytest.fixture
async def scrape(server_url, key_names):
    """What Prometheus gets of a worker that has had work of all kinds: samples and their type."""
    registry = CollectorRegistry()
    middleware = TimersPrometheusMiddleware(registry=registry)
    broker = TimersBroker(server_url, middlewares=[middleware], logger=None, **key_names)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        if body == "bad":
            raise LookupError

    with TimersClient(server_url, **key_names) as client:
        registry.register(TimersCollector(client, [TOPIC]))
        async with broker:
            await broker.publish_batch("good", "bad", topic=TOPIC)
            with pytest.raises(ValueError, match="timer_id"):
                await broker.publish("x", TOPIC, timer_id="")
            counter = "faststream_received_processed_messages_total"
            await wait_until_async(lambda: len(samples_of(registry, counter)) == 2)
            found = read(registry)
            await broker.cancel_all(TOPIC)
    return found


def samples_of(registry, name):
    return [s for metric in registry.collect() for s in metric.samples if s.name == name]


def read(registry):
    """Give samples by name, each with its labels and the type of its metric."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, (family.type, []))[1].append(sample.labels)
    return found


def test_every_query_finds_what_it_asks_for(scrape):
    assert len(TARGETS) > 15
    for expression in (target["expr"] for target in TARGETS):
        selectors = SELECTOR.findall(expression) or [(expression[4:-1], "")]
        for name, matchers in selectors:
            assert name in scrape, expression
            _, series = scrape[name]
            asked = MATCHER.findall(matchers)
            assert ", ".join(f'{n}{op}"{v}"' for n, op, v in asked) == matchers, expression
            wanted = {label: value for label, operator, value in asked if operator == "="}
            chosen = [one for one in series if wanted.items() <= one.items()]
            assert chosen, expression
            for label in {label for label, _, _ in asked} | set(grouped_by(expression)):
                assert all(label in one for one in chosen), (label, expression)


def test_rates_are_of_what_only_rises_and_the_rest_of_gauges(scrape):
    for expression in (target["expr"] for target in TARGETS):
        name = re.search(r"faststream_\w+", expression)[0]
        kind, _ = scrape[name]
        assert kind in ({"counter", "histogram"} if "rate(" in expression else {"gauge"}), name
        assert name.endswith("_bucket") == ("histogram_quantile(" in expression), name


def test_queries_are_written_in_words_that_this_test_understands():
    for expression in (target["expr"] for target in TARGETS):
        assert expression.count("(") == expression.count(")")
        rest = GROUPING.sub("", SELECTOR.sub("", expression).replace("[$__rate_interval]", ""))
        words = set(re.findall(r"[a-z]\w*", rest)) - {"faststream_timers_up"}
        assert words <= FUNCTIONS, expression


def grouped_by(expression):
    return [label for some in GROUPING.findall(expression) for label in some.split(", ")]


def test_legends_name_labels_that_are_left():
    for target in TARGETS:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert named == set(grouped_by(target["expr"])) - {"le"} or not named
        if target["expr"].startswith(("sum(", "max(", "min(")):
            assert not named


def test_all_metrics_that_the_project_has_beside_faststreams_are_shown(scrape):
    shown = {name for target in TARGETS for name in re.findall(r"faststream_\w+", target["expr"])}
    own = {name for name in scrape if name.startswith("faststream_timers_")}

    assert own - shown == {
        f"faststream_timers_lateness_seconds_{part}" for part in ("count", "sum", "created")
    } & set(own)


def test_topics_to_choose_from_are_those_of_the_scrape(scrape):
    (name, label) = re.fullmatch(
        r"label_values\((\w+), (\w+)\)", VARIABLES["topic"]["query"]["query"]
    ).groups()

    assert [labels[label] for labels in scrape[name][1]] == [TOPIC]
    assert VARIABLES["topic"]["definition"] == VARIABLES["topic"]["query"]["query"]


def test_it_can_be_imported_beside_others():
    assert BOARD["uid"]
    assert "id" not in BOARD
    assert VARIABLES["datasource"]["type"] == "datasource"
    for part in (*PANELS, *TARGETS, VARIABLES["topic"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD))) - {"__rate_interval", "__all"}
    assert variables == set(VARIABLES)


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        for at in (panel["gridPos"] for panel in BOARD["panels"])
    ]
    assert all(a.isdisjoint(b) for a, b in combinations(cells, 2))
    assert all(x < 24 for some in cells for x, _ in some)


# --- the page that tells of it -----------------------------------------------------------

PAGE = (ROOT / "docs" / "observability.md").read_text()
NAMED = set(re.findall(r"\bfaststream_\w+", PAGE)) - {"faststream_redis_timers_sync"}


def test_the_page_names_metrics_that_there_are_and_all_of_the_projects(scrape):
    there = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in scrape}
    own = {name for name in there if name.startswith("faststream_timers_")}

    assert own <= {name for name in NAMED if not name.startswith("faststream_redis")} <= there


def test_the_pages_code_runs(server_url):
    names = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        own = code.replace("redis://localhost:6379", server_url).replace("(9000,", "(0,")
        exec(own, names)  # noqa: S102  it is our page
    try:
        text = generate_latest(names["topics"]).decode()
    finally:
        names["web"].shutdown()
        names["web"].server_close()
        names["timers"].close()

    assert "faststream_timers_up 1.0" in text
    assert 'faststream_timers_pending{topic="invoices"}' in text
