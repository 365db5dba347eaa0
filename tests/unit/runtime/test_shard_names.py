"""Two processes that go by one shard's name: the second one is told, and changes nothing."""

import asyncio
from typing import Any

import pytest
from evenshard.api.v1 import common_pb2, shard_pb2
from evenshard.directory.keys import service_key
from evenshard.directory.service import ServiceRecord, labels_of
from evenshard.errors import EvenshardError
from evenshard.ports.directory import Put
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.registration import Registration
from evenshard.runtime.service import ServiceOptions, Servicer
from evenshard.runtime.settings import Settings
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.rng import SeededRng
from evenshard.wire.rpcs import SHARD_SERVICE


class Shard:
    def __init__(self, name: str) -> None:
        self.name = name

    async def GetShardLoad(self, request: Any, context: Any) -> shard_pb2.GetShardLoadResponse:
        return shard_pb2.GetShardLoadResponse(load=common_pb2.ShardLoad(shard=self.name))


async def test_a_name_that_is_served_elsewhere_is_refused_and_one_that_is_not_is_taken() -> None:
    clock = SystemClock()
    directory, peers = MemoryDirectory(clock), MemoryPeers(clock, SeededRng(1))
    record = ServiceRecord("shard-0", "shard", "there:1", "there", 7, 0)
    await directory.swap([], [Put(service_key("shard-0"), record.to_json())])
    settings = Settings(shard_labels="zone=a,tier=hot")
    options = ServiceOptions("shard", "shard-0", "here:1", (), None, 0, settings)
    registration = Registration(directory, options)
    await registration.check_free("here:1", peers)  # nobody answers there
    peers.register("there:1", [Servicer(SHARD_SERVICE, lambda *_: None, Shard("shard-1"))])
    await registration.check_free("here:1", peers)  # somebody else does
    peers.register("there:1", [Servicer(SHARD_SERVICE, lambda *_: None, Shard("shard-0"))])
    await registration.check_free("there:1", peers)  # it is itself, started again
    with pytest.raises(EvenshardError, match="served at there:1 already, by process 7"):
        await registration.check_free("here:1", peers)
    entry = await directory.get(service_key("shard-0"))
    assert entry is not None
    assert entry.value == record.to_json()
    registration.begin("here:1")
    await registration.put()
    entry = await directory.get(service_key("shard-0"))
    assert entry is not None
    assert ServiceRecord.from_json(entry.value).labels == {"zone": "a", "tier": "hot"}
    await registration.remove()
    await asyncio.sleep(0)


def test_labels_are_names_and_values() -> None:
    assert labels_of("") == {}
    assert labels_of("zone=eu-1,tier=a.b") == {"zone": "eu-1", "tier": "a.b"}
    for text in ("zone", "=a", "zone=", "zone=a,zone=b", "zone=a b", "a=ü"):
        with pytest.raises(EvenshardError, match="USAGE"):
            labels_of(text)
