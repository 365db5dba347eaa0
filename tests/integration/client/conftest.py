"""A fake cluster, and clients of it."""

from collections.abc import Iterator

import evenshard
import pytest
from evenshard.client import Client
from evenshard.testing.fake_cluster import FakeCluster


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """With one tenant, ``acme``."""
    with FakeCluster() as running:
        running.add_tenant("acme")
        yield running


@pytest.fixture
def client(cluster: FakeCluster) -> Iterator[Client]:
    with evenshard.connect(cluster.address, cluster.address, tenant="acme", timeout=5) as connected:
        yield connected
