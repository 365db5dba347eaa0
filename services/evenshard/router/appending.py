"""Calls a shard to append; whatever fails becomes a result for each part, so that an import always answers."""

from collections.abc import Sequence

from evenshard.errors import EvenshardError
from evenshard.ports.peers import Peers
from evenshard.router.packing import ShardRequest
from evenshard.router.partition import Part
from evenshard.runtime.services import ServiceView
from evenshard.wire.rpcs import APPEND_EVENTS
from evenshard.wire.shards import BatchAppended, appended_of, refused

PartAppended = tuple[Part, BatchAppended]


class Appender:
    """Reaches shards where the directory says they are."""

    def __init__(self, peers: Peers, services: ServiceView) -> None:
        self._peers = peers
        self._services = services

    async def append(self, request: ShardRequest, timeout_s: float) -> Sequence[PartAppended]:
        """What became of each part, within ``timeout_s``. A part is stored, or refused with the shard's code, or with
        ``SHARD_UNAVAILABLE`` where the shard did not answer: then it may be stored or not."""
        record = self._services.get(request.shard)
        if record is None or record.kind != "shard":
            return _all_refused(request, f"{request.shard} is not running: the directory does not list it")
        try:
            response = await self._peers.call(record.address, APPEND_EVENTS, request.message, timeout_s=timeout_s)
            results = appended_of(response, [part.rows for part in request.parts])
        except EvenshardError as error:
            return _all_refused(request, f"{request.shard} did not acknowledge: {error.code}: {error.message}")
        return list(zip(request.parts, results, strict=True))


def _all_refused(request: ShardRequest, message: str) -> Sequence[PartAppended]:
    return [(part, refused("SHARD_UNAVAILABLE", message)) for part in request.parts]
