"""Both front ends on a cluster, straight or through relays."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from clusters import Cluster
from faces import Face
from relayed_cluster import Relays, face_on


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
) -> AsyncIterator[Face]:
    """A face whose calls go through the relays."""
    node = cluster.primaries()[0]
    async with face_on(flavour, node, key_names, address_remap=relays.remap) as face:
        yield face
    cluster.flush()


@pytest.fixture
async def face(flavour: str, cluster: Cluster, key_names: dict[str, str]) -> AsyncIterator[Face]:
    async with face_on(flavour, cluster.primaries()[0], key_names) as face:
        yield face
    cluster.flush()
