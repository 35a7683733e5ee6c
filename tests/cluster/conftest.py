"""Both front ends on a cluster, straight or through relays."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from clusters import Cluster
from front_ends import FrontEnd
from relayed_cluster import Relays, front_end_on


@pytest.fixture(params=["blocking", "async"])
def flavour(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def relays(cluster: Cluster) -> Iterator[Relays]:
    with ExitStack() as stack:
        yield Relays(cluster, stack)


@pytest.fixture
async def relayed(
    flavour: str, cluster: Cluster, relays: Relays, key_names: dict[str, str]
) -> AsyncIterator[FrontEnd]:
    """A front end whose calls go through the relays."""
    node = cluster.primaries()[0]
    async with front_end_on(flavour, node, key_names, address_remap=relays.remap) as front_end:
        yield front_end
    cluster.flush()


@pytest.fixture
async def front_end(
    flavour: str, cluster: Cluster, key_names: dict[str, str]
) -> AsyncIterator[FrontEnd]:
    async with front_end_on(flavour, cluster.primaries()[0], key_names) as front_end:
        yield front_end
    cluster.flush()
