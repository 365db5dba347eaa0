"""Every shard with its load: asks all of them at once; one that does not answer is listed as down."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from evenshard.api.v1 import admin_pb2, common_pb2, shard_pb2
from evenshard.directory.service import ServiceRecord
from evenshard.directory.shard_state import Use
from evenshard.errors import EvenshardError
from evenshard.hotkeys.diagnosis import skew
from evenshard.ids import ShardId
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.call import current_call
from evenshard.runtime.services import ServiceView
from evenshard.runtime.shard_states import ShardStateView
from evenshard.wire.rpcs import GET_SHARD_LOAD

ASK_TIMEOUT_S: Final = 2.0
EVENTS_PER_SECOND_MIN: Final = 1.0
"""Of all shards: below it nothing is imported to speak of, and what is uneven is what is stored."""

Measure = Callable[[common_pb2.ShardLoad], float]
MEASURES: Final[Mapping[str, Measure]] = {
    "events_per_second": lambda load: load.events_per_second,
    "queries_per_second": lambda load: load.queries_per_second,
    "busy": lambda load: load.busy,
    "cpu": lambda load: load.cpu,
    "rows": lambda load: load.rows,
    "bytes": lambda load: load.bytes,
}


class ShardLoads:
    """Of the shards that the directory lists."""

    def __init__(self, shards: TenantShards, services: ServiceView, states: ShardStateView) -> None:
        self._states = states
        self._shards = shards
        self._services = services

    async def now(self) -> admin_pb2.ListShardsResponse:
        """Answers within some two seconds, whoever is down."""
        records = self._services.of_kind("shard")
        timeout_s = max(0.05, min(ASK_TIMEOUT_S, 0.8 * current_call().remaining_s()))
        names = [ShardId(record.name) for record in records]
        answered, failed = await self._shards.ask(names, GET_SHARD_LOAD, shard_pb2.GetShardLoadRequest(), timeout_s)
        uses = {name: self._states.use_of(name) for name in names}
        return shards_response(records, {name: each.load for name, each in answered.items()}, failed, uses)


def shards_response(
    records: Sequence[ServiceRecord],
    loads: Mapping[ShardId, common_pb2.ShardLoad],
    failed: Mapping[ShardId, EvenshardError],
    uses: Mapping[ShardId, Use],
) -> admin_pb2.ListShardsResponse:
    """The answer; shares and skews are of those that answered."""
    total = sum(load.events_per_second for load in loads.values())
    load_of = "events_per_second" if total >= EVENTS_PER_SECOND_MIN else "rows"
    measured = {name: [measure(load) for load in loads.values()] for name, measure in MEASURES.items()}
    whole = sum(measured[load_of])
    states = []
    for record in records:
        name = ShardId(record.name)
        state = admin_pb2.ShardState(shard=name, address=record.address, state="down", labels=record.labels)
        if name in loads:
            state.state = uses.get(name, "active")
            state.load.CopyFrom(loads[name])
            if whole:
                state.share = MEASURES[load_of](loads[name]) / whole
        else:
            state.reason = record.reason or failed[name].message
        states.append(state)
    return admin_pb2.ListShardsResponse(
        shards=states,
        load_of=load_of,
        skew=skew(measured[load_of]),
        skews=[admin_pb2.Skew(of=name, skew=skew(values)) for name, values in measured.items()],
    )
