"""Fixtures of all tests: a server, key names of each test's own, and the check for left keys."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from bench import Bench, Calls, bench_at, bench_of
from clusters import KEEPING, LONGEST, Cluster
from front_ends import ClusterHome, FrontEnd, FrontEndFactory, Home, MemoryHome
from hypothesis import settings
from leaks import keys_under, leftovers
from relay import Relay
from replicated import binaries
from waiting import wait_until

from examples.embedded_cluster import Node
from examples.embedded_server import embedded_server

# How long an example takes says nothing on a machine that others use too. Examples are the same in
# each run, so that one which fails tells of a change; "search" looks for new ones.
settings.register_profile("timers", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("timers")


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """URL of a server; it may be somebody's, so tests keep to their own keys."""
    with embedded_server() as url:
        yield url


@pytest.fixture(scope="session")
def redis_client(server_url: str) -> Iterator[redis.Redis]:
    """A plain client, for looking at keys and planting entries."""
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def key_names() -> dict[str, str]:
    """Key names that no other test uses, as the front ends' arguments."""
    own = f"test-{uuid4().hex}"
    return {
        "timeline_key": f"{own}-timeline",
        "payloads_key": f"{own}-payloads",
        "attempts_key": f"{own}-attempts",
        "series_key": f"{own}-series",
    }


@pytest.fixture
async def bench(request: pytest.FixtureRequest, key_names: dict[str, str]) -> AsyncIterator[Bench]:
    """A topic; brokers made with it are stopped afterwards.

    With ``TIMERS_TESTS_ON=cluster`` it is on a cluster, where the test has nothing of one server's.
    """
    if os.environ.get("TIMERS_TESTS_ON") == "cluster" and not (
        {"relay", "server_url", "redis_client"} & set(request.fixturenames)
    ):
        home = request.getfixturevalue("cluster_home")
        async with bench_of(home) as bench:
            yield bench
        return
    async with bench_at(request.getfixturevalue("server_url"), key_names) as bench:
        yield bench


@pytest.fixture
def cluster_home(
    request: pytest.FixtureRequest, cluster: Cluster, key_names: dict[str, str]
) -> Iterator[ClusterHome]:
    """A cluster as where the timers of one test live."""
    home = ClusterHome({**key_names, "hash_tags": True}, cluster.nodes[0].url)
    yield home
    assert home.leave() == [] or request.node.get_closest_marker("leaks_keys")


@pytest.fixture
def calls() -> Calls:
    """What handlers were called with; they wait at its gate."""
    return Calls()


@pytest.fixture
def open_calls() -> Calls:
    """What handlers were called with; they do not wait."""
    return Calls(open=True)


@pytest.fixture
def relay(server_url: str) -> Iterator[Relay]:
    """A relay before the server."""
    with Relay(server_url) as relay:
        yield relay


@pytest.fixture(scope="session")
def own_url() -> Iterator[str]:
    """URL of a server that is ours alone: its statistics and settings may be touched."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture
async def own_bench(own_url: str, key_names: dict[str, str]) -> AsyncIterator[Bench]:
    """A topic on a server that is ours alone."""
    async with bench_at(own_url, key_names) as bench:
        yield bench


@pytest.fixture
def own_relay(own_url: str) -> Iterator[Relay]:
    """A relay before the server that is ours alone."""
    with Relay(own_url) as relay:
        yield relay


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster that tests leave as they found it.

    No node replaces another that a busy machine keeps waiting; tests that want that take
    `own_cluster`.
    """
    with Cluster(config={"cluster-node-timeout": "10000"}) as cluster:
        yield cluster


@pytest.fixture
def empty_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """The same cluster, without any key before and after."""
    cluster.flush()
    # A replica that has received nothing yet is on no map, and each node learns from its next ping
    # that it has: in a new cluster within half the timeout of 10 s, later on a busy machine.
    wait_until(lambda: all(_names_all(node, cluster) for node in cluster.nodes), LONGEST)
    yield cluster
    cluster.flush()


def _names_all(node: Node, cluster: Cluster) -> bool:
    servers = {server[2] for _, _, *servers in node.ask("CLUSTER", "SLOTS") for server in servers}
    return len(servers) == len(cluster.nodes)


@pytest.fixture(params=binaries(), ids=lambda binary: Path(binary).name)
def own_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that the test may break, on each kind of server that this machine has.

    What it has answered is on disk, so that a node that is killed comes back with it. Logs stay
    in the test's folder.
    """
    with Cluster(request.param, config=KEEPING) as cluster:
        yield cluster
        for node in cluster.nodes:
            shutil.copy(node.log, tmp_path / f"{node.port}.log")


@pytest.fixture(autouse=True)
def no_key_outlives_its_timers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check, and clean up, what a test left under its key names."""
    if "key_names" not in request.fixturenames:
        yield
        return
    names = request.getfixturevalue("key_names")
    client = request.getfixturevalue("redis_client")
    yield
    wrong = leftovers(client, names)
    if keys := keys_under(client, names):
        client.delete(*keys)
    if request.node.get_closest_marker("leaks_keys") is None:
        assert wrong == []


@pytest.fixture
def make_front_end(request: pytest.FixtureRequest) -> FrontEndFactory:
    """The factory that a test names as its parameter."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def front_end(make_front_end: FrontEndFactory, home: Home) -> AsyncIterator[FrontEnd]:
    """A front end at its home."""
    async with make_front_end(home) as front_end:
        yield front_end


@pytest.fixture(params=["real", "fake"])
def home(request: pytest.FixtureRequest, key_names: dict[str, str]) -> Iterator[Home]:
    """Where the timers of one test live: first on the real server, then on fakeredis.

    A test may ask for ``"memory"`` too, that of a `FakeTimersClient`, for ``"tagged"``: the
    real server, with hash tags in the keys, and for ``"cluster"``.
    """
    if request.param == "cluster":
        yield request.getfixturevalue("cluster_home")
        return
    if request.param == "memory":
        yield MemoryHome(key_names, None)
        return
    is_real = request.param != "fake"
    names = {**key_names, "hash_tags": True} if request.param == "tagged" else key_names
    home = Home(names, request.getfixturevalue("server_url") if is_real else None)
    yield home
    wrong = [] if is_real else leftovers(home.redis, key_names)
    home.redis.close()
    if request.node.get_closest_marker("leaks_keys") is None:
        assert wrong == []
