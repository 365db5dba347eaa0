"""The metrics of a shard: what it has, read when somebody asks."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from evenshard.runtime.metrics import is_measuring, observe, record
from evenshard.runtime.process_metrics import Lately
from evenshard.shard.compacting import Compactor
from evenshard.shard.heat import Heat, ShardHeat
from evenshard.shard.memory import MemoryView
from evenshard.storage.append import OnSync, Synced
from evenshard.storage.sequencer import Sequencer
from evenshard.storage.store import Store

_S_PER_MS: Final = 1e-3


def recording_syncs(then: OnSync) -> OnSync:
    """Notes each sync, then tells ``then``."""

    def on_sync(synced: Synced) -> object:
        record("evenshard.shard.sync.duration", synced.duration_ms * _S_PER_MS)
        record("evenshard.shard.group.batches", synced.batches)
        return then(synced)

    return on_sync


def observe_shard(
    store: Store, sequencer: Sequencer, compactor: Compactor, memory: MemoryView, heat: ShardHeat
) -> None:
    """From now on they are told."""
    if not is_measuring():
        return
    stored, load = Lately(lambda: store.storage()), Lately(heat.now)
    compaction, parts = Lately(compactor.state), Lately(memory.now)
    observe("evenshard.shard.queue", lambda: sequencer.queued_bytes)
    observe("evenshard.shard.refusing", lambda: int(store.refuses_changes is not None))
    observe("evenshard.shard.compaction.backlog", lambda: compaction().backlog_rows)
    observe(
        "evenshard.shard.compaction.pressure",
        lambda: max((store.backlog(each.tenant) for each in stored() if each.log_rows), default=0.0),
    )
    observe("evenshard.shard.compaction.failing", lambda: len(compaction().failing_tenants))
    observe("evenshard.shard.log.files", lambda: compaction().log_files)
    observe(
        "evenshard.shard.rows",
        lambda: _by_place(sum(each.log_rows for each in stored()), sum(each.segment_rows for each in stored())),
    )
    observe("evenshard.shard.segments", lambda: sum(each.segments for each in stored()))
    observe("evenshard.shard.size", lambda: sum(each.bytes for each in stored()))
    observe("evenshard.shard.quarantined", lambda: sum(each.is_in_force for each in store.quarantined))
    observe("evenshard.shard.memory", lambda: [(each.bytes, {"evenshard.part": each.part}) for each in parts().parts])
    observe("evenshard.shard.memory.limit", lambda: memory.bytes_max)
    for name, value in _LOAD.items():
        observe(f"evenshard.shard.load.{name}", _reading(value, load))
    observe("evenshard.shard.load.pending", lambda: memory.room.bytes)


_LOAD: Final[Mapping[str, Callable[[Heat], float | None]]] = {
    "events": lambda heat: heat.events_per_second,
    "queries": lambda heat: heat.queries_per_second,
    "query.p99": lambda heat: heat.query_p99_ms,
    "busy": lambda heat: heat.busy,
    "cpu": lambda heat: heat.cpu,
    "disk.read": lambda heat: heat.read_bytes_per_second,
    "disk.written": lambda heat: heat.write_bytes_per_second,
}


def _reading(value: Callable[[Heat], float | None], load: Callable[[], Heat]) -> Callable[[], float | None]:
    return lambda: value(load())


def _by_place(log: int, segment: int) -> Iterable[tuple[int, dict[str, str]]]:
    return [(log, {"evenshard.place": "log"}), (segment, {"evenshard.place": "segment"})]
