"""One etcd for all tests of this folder that leave it alive; each takes a prefix of its own."""

from collections.abc import Iterator

import pytest
from evenshard.testing.etcd import EtcdProcess


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    process = EtcdProcess(tmp_path_factory.mktemp("etcd"))
    process.start()
    yield process
    process.stop()
