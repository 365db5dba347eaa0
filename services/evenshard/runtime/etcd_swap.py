"""One compare-and-swap on etcd whose answer is what really happened, also when etcd's reply was lost.

After a lost reply the history of one of the changed keys (the witness) is read backwards, from now to the revisions the
conditions named: a revision at which every change stands as asked is ours. If there is none, and the conditions still
hold, the swap is sent again: should the first one still be on its way, at most one of the two can hold its conditions.
An unconditional change has no such fence: sent again, it may be made twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from evenshard.api.etcd import rpc_pb2 as rpc
from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.directory import Delete, Put, SwapResult, Unchanged
from evenshard.runtime.etcd_members import REFUSALS, Member, Members, Pace

LOOK_BACK_MAX: Final = 64
"""Changes of the witness looked at; a swap is in doubt for seconds only."""

Stored = Mapping[str, rpc.KeyValue]


async def swap(
    members: Members, conditions: Sequence[Unchanged], changes: Sequence[Put | Delete], timeout_s: float
) -> SwapResult:
    """As ``Directory.swap``."""
    keys = [change.key for change in changes]
    if len(set(keys)) != len(keys):
        raise ValueError(f"a swap changes a key twice: {keys}")
    request = _request(conditions, changes)
    pace = Pace(timeout_s)
    in_doubt = False
    why = "not connected"
    while True:
        member = await members.reached(pace.left_s())
        if member is not None:
            try:
                answer = await members.guarded(member.kv.Txn(request, timeout=pace.try_s()))
                if answer.succeeded or not in_doubt:
                    return SwapResult(answer.succeeded, Revision(answer.header.revision))
            except grpc.aio.AioRpcError as error:
                if error.code() in REFUSALS:
                    raise refusal(members, error, in_doubt=in_doubt) from error
                why = f"{error.code().name} {error.details()}"
                in_doubt = True
                members.failed(member)
            if in_doubt:
                settled = await _settle(members, conditions, changes, pace)
                if settled is not None:
                    return settled
        if not await pace.again():
            raise members.unavailable(f"no answer within {timeout_s:g} s: {why}", in_doubt=in_doubt)


def refusal(members: Members, error: grpc.aio.AioRpcError, *, in_doubt: bool = False) -> EvenshardError:
    """etcd's refusal as an error of ours."""
    if error.code() == grpc.StatusCode.NOT_FOUND:
        return EvenshardError("OPERATION_STATE", f"the lease has lapsed: {error.details()}", in_doubt=in_doubt)
    return members.unavailable(f"{error.code().name} {error.details()}", in_doubt=in_doubt)


async def _settle(
    members: Members, conditions: Sequence[Unchanged], changes: Sequence[Put | Delete], pace: Pace
) -> SwapResult | None:
    """What became of a swap in doubt; ``None``: nothing so far, send it again."""
    keys = sorted({each.key for each in (*conditions, *changes)})
    stored, revision = await _read(members, keys, pace, at=0)
    if not conditions:
        return SwapResult(True, revision) if stands(changes, stored) else None
    floor = max(condition.revision for condition in conditions)
    happened_at = await _look_back(members, changes, floor, stored, revision, pace)
    if happened_at is not None:
        return SwapResult(True, happened_at)
    return None if holds(conditions, stored) else SwapResult(False, revision)


async def _look_back(
    members: Members,
    changes: Sequence[Put | Delete],
    floor: int,
    stored: Stored,
    revision: Revision,
    pace: Pace,
) -> Revision | None:
    """The revision after ``floor`` at which the changes were made as asked, if there was one."""
    witness = next((change for change in changes if isinstance(change, Put)), None)
    if witness is None:
        return revision if all(was_deleted(change.key, stored, floor) for change in changes) else None
    keys = [change.key for change in changes]
    now = stored.get(witness.key)
    for _ in range(LOOK_BACK_MAX):
        if now is None or now.mod_revision <= floor:
            return None
        if now.value == witness.value:
            then, _ = await _read(members, keys, pace, at=now.mod_revision)
            if stands(changes, then, made_at=now.mod_revision):
                return Revision(now.mod_revision)
        before, _ = await _read(members, [witness.key], pace, at=now.mod_revision - 1)
        now = before.get(witness.key)
    raise members.unavailable(f"{witness.key} changed too often to tell what became of a swap", in_doubt=True)


def stands(changes: Sequence[Put | Delete], stored: Stored, made_at: int | None = None) -> bool:
    """Whether ``stored`` shows every change (``made_at``: each Put made at that revision)."""
    for change in changes:
        found = stored.get(change.key)
        if isinstance(change, Delete):
            if found is not None:
                return False
        elif found is None or found.value != change.value or (made_at is not None and found.mod_revision != made_at):
            return False
    return True


def holds(conditions: Sequence[Unchanged], stored: Stored) -> bool:
    """Whether every condition holds of ``stored``."""
    return all((stored[each.key].mod_revision if each.key in stored else 0) == each.revision for each in conditions)


def was_deleted(key: str, stored: Stored, floor: int) -> bool:
    """Whether ``key``, which existed at ``floor``, has been removed since: it is absent, or was made anew."""
    return key not in stored or stored[key].create_revision > floor


def _request(conditions: Sequence[Unchanged], changes: Sequence[Put | Delete]) -> rpc.TxnRequest:
    return rpc.TxnRequest(
        compare=[
            rpc.Compare(
                result=rpc.Compare.EQUAL, target=rpc.Compare.MOD, key=each.key.encode(), mod_revision=each.revision
            )
            for each in conditions
        ],
        success=[_operation(change) for change in changes],
    )


def _operation(change: Put | Delete) -> rpc.RequestOp:
    key = change.key.encode()
    if isinstance(change, Delete):
        return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=change.value, lease=change.lease))


async def _read(members: Members, keys: Sequence[str], pace: Pace, *, at: int) -> tuple[dict[str, Any], Revision]:
    """The keys that exist, as they stood at revision ``at`` (0: now), all in one linearizable read."""
    request = rpc.TxnRequest(
        success=[rpc.RequestOp(request_range=rpc.RangeRequest(key=key.encode(), revision=at)) for key in keys]
    )

    async def call(member: Member, timeout_s: float) -> Any:
        return await member.kv.Txn(request, timeout=timeout_s)

    try:
        answer = await members.ask(call, pace.left_s(), in_doubt=True)
    except grpc.aio.AioRpcError as error:  # the history is gone, or we may not read
        raise refusal(members, error, in_doubt=True) from error
    found = [each.response_range.kvs for each in answer.responses]
    return {kvs[0].key.decode(): kvs[0] for kvs in found if kvs}, Revision(answer.header.revision)
