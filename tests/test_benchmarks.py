"""The benchmark: what it concludes, what it writes, and how it drives workers and producers.

Nothing here takes times: figures are made up, or only counted.
"""

import re
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import redis
from waiting import wait_until

from benchmarks import cluster as beside, costs, names, real_fleet, scenarios, spread
from benchmarks.bench import Bench
from benchmarks.environments import System
from benchmarks.half_open import HalfOpen
from benchmarks.measured import Run, Server
from benchmarks.messages import monitored
from benchmarks.processes import Unfinished, produce, wait_for_all, worker
from benchmarks.report import verdicts, write_table
from benchmarks.results import Report, Result, quantile, thin
from benchmarks.targets import TARGETS
from examples.embedded_cluster import EmbeddedCluster
from examples.embedded_server import embedded_server
from faststream_redis_timers_sync.protocol.cluster import SLOTS, slot_of
from faststream_redis_timers_sync.protocol.keys import KeySpace

ROOT = Path(__file__).parent.parent


# --- conclusions


def make_report(*results):
    return Report(
        "a machine",
        {"ours": "version 1", "server": "Valkey 9.1.2"},
        3,
        False,
        True,
        {(r.scenario, r.system): r for r in results},
    )


def figure(scenario, system, *values, samples=()):
    """Make a result whose turns, from 1, have these values; None leaves a turn out."""
    result = Result(scenario, system, "messages/s")
    result.values = {turn: value for turn, value in zip(count(1), values) if value is not None}
    result.add_samples(samples)
    return result


def judge(what, *results):
    """Give the verdicts of the target that starts with these words."""
    reports = [make_report(*results)]
    (found,) = [checks for name, checks in verdicts(reports) if name.startswith(what)]
    return [on_server for _, (on_server,) in found]


@pytest.mark.parametrize(("ours", "is_met"), [(8000, True), (7999, False)])
def test_a_ratio_that_is_reached_exactly_is_met(ours, is_met):
    ratio, _ = judge(
        "drain of due", figure(names.DRAIN, "ours", ours), figure(names.DRAIN, "0.5.4", 100)
    )

    assert ratio.wanted == "at least 80 x 0.5.4"
    assert ratio.is_met is is_met


def test_a_ratio_is_taken_within_each_turn():
    ratio, _ = judge(
        "drain of due",
        # Medians of 8,000 and 80 would give 100.
        figure(names.DRAIN, "ours", 2000, 8000, 9000),
        figure(names.DRAIN, "0.5.4", 80, 200, 40),
    )

    assert ratio.reached == "40 x (25 to 225)"
    assert not ratio.is_met


def test_a_turn_in_which_one_of_two_figures_is_missing_does_not_count():
    ratio, _ = judge(
        "drain of due",
        figure(names.DRAIN, "ours", 1, None, 9000),
        figure(names.DRAIN, "0.5.4", None, 1, 100),
    )

    assert ratio.reached == "90 x"


def test_what_was_not_measured_is_neither_met_nor_missed():
    for _, checks in verdicts([make_report()]):
        for _, (on_server,) in checks:
            assert on_server.is_met is None
            assert on_server.reached == "not measured"


def test_memory_may_be_less_than_its_bound_but_not_more():
    def weigh(ours):
        (check,) = judge(
            "server memory",
            figure(names.MEMORY, "ours", ours),
            figure(names.MEMORY, "0.5.4", 100),
        )
        return check.is_met

    assert weigh(85)
    assert not weigh(86)


def test_one_timer_delivered_twice_in_one_turn_is_a_miss():
    _, twice = judge("drain by two", figure(names.TWICE, "ours", 0, 1, 0))

    assert twice.reached == "1 (0 to 1)"
    assert twice.is_met is False


def test_lateness_is_judged_by_the_timers_of_all_turns():
    # The medians of the turns, which are not asked, would be 9.
    late = figure(names.LATE_IDLE, "ours", 9, 9, samples=[60.0, *[0.5] * 97, 5.1, 5.0])

    median, tail = judge("lateness, due in 1 s", late)

    assert (median.reached, median.is_met) == ("0.5 ms", True)
    assert (tail.reached, tail.is_met) == ("5.1 ms", False)


def test_imports_are_judged_by_what_they_add():
    blocking, broker = judge(
        "import",
        figure(names.IMPORT, names.REDIS, 100, 90),
        figure(names.IMPORT, names.BLOCKING_CLIENT, 108, 102),
        figure(names.IMPORT, names.FASTSTREAM, 200),
        figure(names.IMPORT, names.BROKER, 195),
    )

    assert (blocking.reached, blocking.is_met) == ("+10.0 ms (+8.0 to +12.0)", True)
    assert (broker.reached, broker.is_met) == ("-5.0 ms", True)


def test_99_percent_of_100_timers_are_99():
    hundred = list(range(1, 101))

    assert [quantile(hundred, share) for share in (0, 0.01, 0.29, 0.5, 0.99, 1)] == [
        1,
        1,
        29,
        50,
        99,
        100,
    ]


@pytest.mark.parametrize("amount", [100, 201, 1000, 4321])
def test_thinned_samples_keep_the_quantiles_that_are_shown(amount):
    samples = [((7919 * number) % amount) ** 1.5 for number in range(amount)]

    thinned = thin(samples)

    assert len(thinned) <= 201
    for share in (0, 0.01, 0.5, 0.99, 1):
        assert quantile(thinned, share) == round(quantile(sorted(samples), share), 4)


# --- what is written


@pytest.fixture
def full_report():
    """All figures that the targets ask for, and one system that failed."""
    asked = {}

    class Asked(dict):
        def get(self, key, default=None):
            scenario, system = key
            late = [0.2, 0.3, 0.4, 5.0] if scenario.startswith("lateness") else []
            asked[key] = figure(scenario, system, 10, 20, samples=late)
            return default

    for target in TARGETS:
        for check in target.checks:
            check.values(Asked())
    failed = Result(names.DRAIN, "celery", "messages/s", notes=["turn 1: it ended | oddly"])
    return make_report(*asked.values(), failed)


def test_the_table_has_every_target_every_figure_and_every_failure(full_report, tmp_path):
    write_table([full_report], tmp_path / "table.md")

    text = (tmp_path / "table.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for target in TARGETS:
        assert any(row.startswith(f"| {target.what} |") for row in rows)
    for scenario, system in full_report.results:
        assert any(row.startswith(f"| {scenario} | {system} |") for row in rows)
    assert "turn 1: it ended / oddly" in text
    assert {row.count(" | ") for row in rows} == {3, 8}
    assert "not measured" not in text


def test_each_server_has_a_column_and_figures_of_its_own(full_report, tmp_path):
    other = make_report(figure(names.BATCH, "ours", 70_000, 80_000))
    other.systems["server"] = "Redis 8.0.2"
    bench = Bench("redis://localhost", turn=2, results=other.results)
    bench.add_cpu(other.results[names.BATCH, "ours"], 1000, 0.012, 0.003)
    write_table([full_report, other], tmp_path / "table.md")

    lines = (tmp_path / "table.md").read_text().splitlines()
    assert "| what | to reach | Valkey 9.1.2 | met | Redis 8.0.2 | met |" in lines
    (verdict,) = [line for line in lines if line.startswith("| `publish_batch` of 100 |")]
    assert verdict.endswith("| 15/s (10 to 20) | **no** | 75,000/s (70,000 to 80,000) | yes |")
    figures = lines[lines.index("### Redis 8.0.2") :]
    (row,) = [line for line in figures if line.startswith(f"| {names.BATCH} | ours |")]
    assert "| 12 | 3 | 70,000 80,000 |" in row


def test_a_report_is_the_same_after_writing_and_reading(full_report, tmp_path):
    full_report.write(tmp_path / "figures.json")

    assert Report.read(tmp_path / "figures.json") == full_report


def run_benchmarks(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_table_and_plots_are_redrawn_from_the_figures(full_report, tmp_path):
    full_report.write(tmp_path / "figures.json")

    done = run_benchmarks("--redraw", "--out", tmp_path)

    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80 + len(str(tmp_path))
    assert "`publish_batch` of 100" in done.stdout
    drawn = {path.stem for path in tmp_path.glob("*.svg")}
    latenesses = {"lateness-idle", "lateness-at-once", "lateness-load"}
    assert drawn == {"drain", "batches", "publish", *latenesses}
    for path in tmp_path.glob("*.svg"):
        svg = path.read_text()
        assert "ours" in "".join(ET.fromstring(svg).itertext())  # noqa: S314  it is ours
        # No background, and no ink that only one of light and dark pages shows.
        assert not {"#ffffff", "#000000"} & set(svg.replace(";", " ").replace('"', " ").split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--repeat", "0"], "'--repeat'"),
        (["--out", "README.md"], "--out README.md must be a folder"),
        (["--only", "weather", "--out", "{tmp}"], "no scenario has this"),
        (["--redraw", "--out", "{tmp}"], "measure without --redraw first"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, text, tmp_path):
    done = run_benchmarks(*(each.format(tmp=tmp_path) for each in arguments))

    assert done.returncode != 0
    assert text in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


# --- workers and producers


@dataclass(frozen=True)
class Here(System):
    """A system in the environment of the tests."""

    @property
    def python(self):
        return Path(sys.executable)


HERE = Here("ours", "timers.py", (), is_ours=True)


@pytest.fixture(scope="module")
def url():
    """A server of the benchmark's own, since it empties it."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture
def bench(url):
    bench = Bench(url, quick=True)
    yield bench
    bench.server.flushall()
    bench.server.close()


def notes_of(bench):
    return [note for result in bench.results.values() for note in result.notes]


def test_two_workers_drain_a_topic_and_no_timer_twice(bench):
    scenarios.drain(bench, names.DRAIN_TWO, HERE, 400, 10, workers=2, others=40)

    assert notes_of(bench) == []
    assert bench.results[names.DRAIN_TWO, "ours"].values[1] > 0
    assert bench.results[names.TWICE, "ours"].values == {1: 0}
    assert bench.server.zcard("timers_timeline:bench") == 20


@pytest.mark.parametrize("batch", [None, "dicts", "models"])
def test_batches_record_what_worker_and_server_spend_on_a_timer(bench, batch):
    scenarios.drain_in_batches(bench, HERE, names.OF_DICTS, 4000, None, batch)

    assert notes_of(bench) == []
    figures = (names.BATCHES, names.BATCHES_WORKER, names.BATCHES_SERVER)
    assert all(bench.results[name, names.OF_DICTS].values[1] > 0 for name in figures)


def test_batches_at_a_rate_are_counted(bench):
    scenarios.batches_at_a_rate(bench, HERE)

    assert notes_of(bench) == []
    assert 1 < bench.results[names.BATCHES_SIZE, names.OF_DICTS].values[1] <= 100
    assert bench.results[names.BATCHES_LATE, names.OF_DICTS].count == bench.sized(10_000)


def test_a_paced_producer_and_a_worker_that_records_when_each_timer_came(url, bench):
    topics = ["bench-0", "bench-1"]
    with worker(HERE, url, topics=topics) as running:
        running.ask("go")
        produce(HERE, url, action="paced", topics=topics, count=20, rate=1000, delay=0.05)
        wait_for_all([running], 20, 30)
        before = running.ask("report")
        running.ask("reset")
        after = running.ask("report")

    assert sorted(before["numbers"]) == list(range(20))
    assert before["different"] == 20
    assert len(before["lateness"]) == 20
    assert min(before["lateness"]) >= 0
    assert before["cpu"] > 0
    assert after["count"] == 0


@pytest.mark.parametrize(("at_once", "batch"), [(1, False), (50, False), (100, True)])
def test_publishing_schedules_what_it_counts(bench, at_once, batch):
    scenarios.publish(bench, names.PUBLISH, HERE, at_once, batch=batch)

    assert notes_of(bench) == []
    scheduled = bench.server.zcard("timers_timeline:speed")
    assert scheduled == 200 + bench.sized(100_000 if batch else 10_000)


def test_the_blocking_client_takes_turns_with_bare_evalsha(url, bench):
    answer = produce(HERE, url, script="blocking.py", count=400, batches=3)

    assert answer.keys() == {"bare", "schedule", "batch"}
    for told in answer.values():
        assert told.keys() == {"count", "seconds", "client", "server"}
        assert min(told.values()) > 0
    assert [told["count"] for told in answer.values()] == [400, 400, 300]
    # A slice to begin with, two of each, ten batches to begin with, and three.
    assert bench.server.zcard("timers_timeline:speed") == 200 + 2 * (200 + 200) + 1000 + 300


def test_memory_is_that_of_the_timers(bench):
    costs.memory(bench, HERE)

    assert notes_of(bench) == []
    (weight,) = bench.results[names.MEMORY, "ours"].values.values()
    # The body alone has 200.
    assert 300 < weight < 700


def test_consume_alone_handles_every_message(url):
    answer = produce(HERE, url, script="faststream_list.py", action="consume alone", count=50)

    assert answer["count"] == 50


def test_what_is_lost_twice_or_early_is_noted():
    bench = Bench("redis://localhost")
    result = bench.result(names.DRAIN, "ours", "messages/s")

    twice = bench.check(
        result,
        [{"numbers": [0, 1, 2], "lateness": [1.0, -0.5, 1.0]}, {"numbers": [2], "lateness": [3.0]}],
        5,
    )

    assert twice == 1
    assert result.notes == [
        "turn 1: 1 of 5 delivered twice",
        "turn 1: 2 of 5 missing",
        "turn 1: 1 of 5 early",
    ]


def test_a_system_that_fails_is_a_note_and_not_the_end(bench):
    scenarios.drain(bench, names.DRAIN, HERE, 20, -1)

    (note,) = notes_of(bench)
    assert note.startswith("turn 1: the worker ended with code 1: ValueError")
    assert "max_concurrent" in note


def test_a_system_that_is_not_installed_says_so():
    absent = System("never-installed", "timers.py", ())

    with pytest.raises(Unfinished, match="it is not installed"):
        produce(absent, "redis://localhost:1", action="preload")


def test_who_does_not_deliver_in_time_is_told_with_the_count(url, bench):
    with worker(HERE, url, topics=["bench"]) as running:
        running.ask("go")
        with pytest.raises(Unfinished, match="0 of 1 after 0 s"):
            wait_for_all([running], 1, 0)


# --- fleets of workers


def test_messages_are_counted_that_a_command_or_a_script_publishes(url):
    server = Server(url)
    channels = [b"wake-up", b"wake-up\xff0"]
    with server.client.pubsub() as early, server.client.pubsub() as late:
        early.subscribe(*channels)
        wait_until(
            lambda: dict(server.client.pubsub_numsub(*channels)) == dict.fromkeys(channels, 1)
        )
        with monitored(server, channels) as found:
            server.client.publish(channels[0], "one")
            late.subscribe(channels[0])
            wait_until(lambda: server.client.pubsub_numsub(channels[0])[0][1] == 2)
            server.client.publish(channels[0], 'two, with "quotes" and \\')
            server.client.publish("another", "none")
            script = "return redis.call('PUBLISH', KEYS[1], 'a message')"
            server.client.eval(script, 1, channels[1])
            early.unsubscribe(channels[0])
            wait_until(lambda: server.client.pubsub_numsub(channels[0])[0][1] == 1)
            server.client.publish(channels[0], "one")

    assert found.messages == 1 + 2 + 1 + 1
    server.client.close()


def test_counting_messages_ends_while_others_keep_the_server_busy(url):
    server = Server(url)
    is_over = threading.Event()

    def keep_busy():
        with redis.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipeline:
            while not is_over.is_set():
                for _ in range(100):
                    pipeline.echo("much that is done meanwhile")
                pipeline.execute()

    other = threading.Thread(target=keep_busy)
    other.start()
    try:
        for _ in range(50):
            with monitored(server, [b"wake-up"]) as found:
                server.client.publish("wake-up", "one")
            assert found.messages == 0
    finally:
        is_over.set()
        other.join()
    server.client.close()


def test_only_connections_that_listen_become_half_open(url):
    with (
        HalfOpen(url) as relay,
        redis.Redis.from_url(relay.url) as client,
        client.pubsub(ignore_subscribe_messages=True) as listener,
    ):
        listener.subscribe("news")
        wait_until(lambda: client.pubsub_numsub("news")[0][1] == 1)
        listener.get_message(timeout=1.0)

        assert relay.half_open() == 1

        # The server still counts it, and sends it what does not arrive.
        assert client.publish("news", "late") == 1
        assert listener.get_message(timeout=0.1) is None
        assert client.ping()


def test_a_fleet_of_processes_handles_each_timer_once(url, monkeypatch):
    monkeypatch.setattr(real_fleet, "PROBES", replace(HERE, script="probes.py"))
    run = Run(Server(url), quick=True, tell=lambda _: None)

    found = real_fleet.measure(run, ["steady"], (None,), workers=2)

    assert found.notes == []
    for _, rule, on_duty, *_ in found.table().rows:
        assert (rule, on_duty) == ("all", "2")
    run.server.client.close()


def test_a_worker_that_can_not_start_is_a_note(url, monkeypatch):
    monkeypatch.setattr(real_fleet, "PROBES", System("never-installed", "probes.py", ()))
    run = Run(Server(url), quick=True, tell=lambda _: None)

    found = real_fleet.measure(run, ["burst"], (3,), workers=1)

    assert found.notes == ["3 on duty: it is not installed"]
    run.server.client.close()


@pytest.mark.parametrize(("calls", "holds"), [(86.0, True), (86.1, False)])
def test_figures_of_a_fleet_are_compared_with_what_is_to_be_reached(calls, holds):
    figures = dict.fromkeys(real_fleet.Figures._fields, 0.0)
    found = real_fleet.Measured()
    found.add("3", {"10/s, 1 ms": real_fleet.Figures(**{**figures, "calls": calls, "missing": 2})})

    limits = {limit.name: limit.holds for limit in found.limits("3")}

    assert limits["10/s, 1 ms: calls at most 86"] is holds
    assert "1 on duty killed: latest at most 10" not in limits
    assert found.limits("2") == []
    assert found.notes == ["10/s, 1 ms, 3 on duty: 2 missing"]


# --- what a cluster carries, by simulation


@pytest.mark.parametrize(
    ("slots", "shares", "carried"),
    [
        ([0, 16383], [0.5, 0.5], 2.0),
        ([0, 1], [0.5, 0.5], 1.0),
        ([0, 8191, 8192], [0.25, 0.25, 0.5], 2.0),
        ([0, 16383], [0.2, 0.8], 1.25),
    ],
)
def test_a_cluster_carries_what_keeps_its_busiest_primary_as_busy_as_one(slots, shares, carried):
    assert spread.carried(slots, shares, 2) == pytest.approx(carried)


def test_all_topics_of_a_load_have_all_of_it():
    assert spread.ZIPF.of(2) == pytest.approx([2 / 3, 1 / 3])
    for load in (spread.EQUAL, spread.ZIPF):
        assert sum(load.of(1000)) == pytest.approx(1)


def test_the_simulation_of_a_cluster_fills_its_page(tmp_path):
    docs = ROOT / "docs"
    page = (docs / "scaling.md").read_text()
    (tmp_path / "scaling.md").write_text(page)
    (tmp_path / "scaling").mkdir()
    (tmp_path / "scaling" / "figures.json").write_text((docs / "scaling/figures.json").read_text())
    words = [sys.executable, "-m", "benchmarks.spread", "--out", tmp_path / "scaling"]

    done = subprocess.run(
        [*words, "--namings", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    filled = (tmp_path / "scaling.md").read_text()
    # Other names are drawn for two of its tables; the third has the same parts each time.
    assert spread.hot_table("invoices").in_markdown() in filled
    assert spread.hot_table("invoices").in_markdown() in page
    one_primary = re.compile(r"^\| one at a time +\| in claims of 5 +\| ([\d,]+) ", re.MULTILINE)
    assert one_primary.findall(filled) == one_primary.findall(page)


# --- a cluster beside a single primary


ON_ONE_NODE = "schedule by 1; on one node: server us/timer"


def both(one_primary, in_a_cluster):
    return {beside.SINGLE: one_primary, beside.CLUSTER: in_a_cluster}


@pytest.mark.parametrize(
    ("name", "runs", "holds"),
    [
        # Ratios of the medians would be 1.10 and 0.96.
        (
            ON_ONE_NODE,
            both([50.0, 60.0, 40.0], [52.0, 55.0, 60.0]),
            True,
        ),
        (
            ON_ONE_NODE,
            both([50.0, 60.0, 40.0], [53.0, 48.0, 44.0]),
            False,
        ),
        ("get_timer: round trips/call", both([1.0, 1.0, 1.0], [1.0, 1.004, 1.2]), True),
        ("get_timer: round trips/call", both([1.0], [1.01]), False),
    ],
)
def test_a_limit_of_a_cluster_is_judged_by_the_ratio_within_each_turn(name, runs, holds):
    (limit,) = beside.limits_of("a server", {name: runs})

    assert limit.holds is holds


def test_topics_of_one_node_are_all_there():
    space = KeySpace(hash_tags=True)

    for node in range(3):
        topics = beside.topics_of(node)
        slots = [slot_of(space.of(topic).timeline) for topic in topics]
        assert len(set(topics)) == len(beside.TOPICS)
        assert {slot * 3 // SLOTS for slot in slots} == {node}


def test_rates_and_idle_servers_have_no_limit():
    figures = {
        "drain: timers/s": both([1.0], [0.1]),
        "schedule by 1; on all nodes: server us/timer": both([1.0], [9.0]),
        "idle: % of a core": both([0.1], [9.0]),
    }

    assert beside.limits_of("a server", figures) == []


def test_a_recovery_is_the_longest_pause_that_ends_after_the_failover_began():
    seen = beside.Recovery(
        published={0: 1.0, 1: 9.0, 2: 9.5, 3: 11.5, 4: 11.6, 5: 14.0},
        # Timer 1 was claimed by a call whose reply was lost.
        delivered=[(1.0, 0), (9.6, 2), (12.5, 3), (12.6, 4), (12.7, 4), (39.0, 1)],
        failed=["TimerOutcomeUnknownError"],
    )

    figures = seen.figures(broken_at=10.0)

    assert figures == {
        beside.PUBLISHED_AFTER: pytest.approx(2.4),
        beside.DELIVERED_AFTER: pytest.approx(2.9),
        beside.LATEST: pytest.approx(30.0),
        beside.ERRORS: 1,
        beside.LOST: 1,
        beside.TWICE: 1,
    }


def test_both_sides_are_measured_by_the_same_calls(url, monkeypatch):
    monkeypatch.setattr(beside, "CALLS", 60)
    # What replicas tell a primary would count as round trips.
    with EmbeddedCluster(replicas=0) as cluster:
        sides = [
            beside.Side(beside.SINGLE, url, [Server(url)]),
            beside.Side(beside.CLUSTER, cluster.url, [Server(node.url) for node in cluster.nodes]),
        ]
        run = beside.Comparison(sides, quick=True, tell=lambda _: None)
        for size in (1, 100):
            beside.weigh(run, beside.TOPICS, "all nodes", size)
            assert [node.client.dbsize() for side in sides for node in side.nodes] == [0, 0, 0, 0]
        run.compare("round trips", beside.count_round_trips)

    both_sides = {beside.SINGLE, beside.CLUSTER}
    steps = ("schedule by 1", "claim, commit by 1", "schedule by 100", "claim, commit by 100")
    costs = {f"{step}; on all nodes: server us/timer": both_sides for step in steps}
    calls = ("schedule", "get_timer", "reschedule_timer", "cancel_timer")
    trips = {f"{call}: round trips/call": both_sides for call in calls}
    assert {name: set(runs) for name, runs in run.figures.items()} == costs | trips
    for name in costs:
        assert all(figure > 0 for figures in run.figures[name].values() for figure in figures)
    for name in trips:
        assert run.figures[name] == {beside.SINGLE: [1.0], beside.CLUSTER: [1.0]}
