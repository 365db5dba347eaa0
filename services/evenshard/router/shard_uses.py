"""Gives a shard back the use that it had before an operation cordoned it, or began to drain it."""

from dataclasses import dataclass

from evenshard.directory.audit import Audited
from evenshard.directory.keys import shard_state_key
from evenshard.directory.operations import Operation
from evenshard.directory.shard_state import ShardState, Use
from evenshard.ids import OperationId, ShardId
from evenshard.ports.directory import Delete, Directory, Put, Unchanged


@dataclass(frozen=True, slots=True)
class UseGivenBack:
    """What is written for it; empty: somebody has changed the shard's use since, it stays as it is."""

    conditions: tuple[Unchanged, ...] = ()
    changes: tuple[Put | Delete, ...] = ()


async def use_given_back(
    directory: Directory,
    shard: ShardId,
    operation: OperationId,
    before: Use,
    *,
    who: str,
    now_ms: int,
    nonce: str,
    timeout_s: float,
) -> UseGivenBack:
    """The record of a shard's use that an operation wrote bears its id."""
    key = shard_state_key(shard)
    entry = await directory.get(key, timeout_s=timeout_s)
    state = None if entry is None else ShardState.from_json(entry.value)
    if entry is None or state is None or state.nonce != operation:
        return UseGivenBack()
    changed = Delete(key) if before == "active" else Put(key, ShardState(shard, before, who, nonce).to_json())
    audited = Audited(now_ms, who, "uncordon", shard, {"state": state.use}, {"state": before})
    return UseGivenBack((Unchanged(key, entry.revision),), (changed, audited.put(nonce)))


async def no_more_isolated(
    directory: Directory, operation: Operation, *, who: str, now_ms: int, nonce: str, timeout_s: float
) -> UseGivenBack:
    """Of a tenant that gets no shard of its own after all: the one that was cordoned for it had been active."""
    if operation.kind != "isolate" or operation.move is None:
        return UseGivenBack()
    (shard,) = operation.move.targets
    return await use_given_back(
        directory, shard, operation.id, "active", who=who, now_ms=now_ms, nonce=nonce, timeout_s=timeout_s
    )
