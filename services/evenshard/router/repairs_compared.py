"""Compares what a repair planned with what shards hold, and with the marks there are."""

from dataclasses import replace

from evenshard.api.v1 import shard_pb2
from evenshard.directory.operations import Verified
from evenshard.directory.repair import Counted, Repair, day_text, differences
from evenshard.router.key_marks import KeyMarks
from evenshard.router.repairs_copying import STEP_TIMEOUT_S
from evenshard.router.tenant_shards import TenantShards
from evenshard.wire.rpcs import TALLY_LAYERS


async def differences_of(shards: TenantShards, repair: Repair) -> tuple[str, ...]:
    """Where the shards do not hold what was planned. Raises the failure of a shard that does not answer."""
    taken = repair.taken_layer if repair.undoes is None else f"{repair.undoes}.taken"
    answered, failed = await shards.each(
        repair.tenant,
        TALLY_LAYERS,
        lambda epoch: shard_pb2.TallyLayersRequest(
            tenant=repair.tenant, epoch=epoch, layers=[taken, repair.brought_layer]
        ),
        lambda: STEP_TIMEOUT_S,
    )
    if failed:
        shard, error = sorted(failed.items())[0]
        raise replace(error, message=f"{shard}: {error.message}")
    found = [
        {shard: Counted(answer.tallies[at].rows, answer.tallies[at].digest) for shard, answer in answered.items()}
        for at in (0, 1)
    ]
    told = differences(repair.taken, found[0], "taken")
    return told + differences(repair.brought, found[1], "brought")


async def marks_compared(marks: KeyMarks, repair: Repair, timeout_s: float) -> Verified:
    """Whether the marks of a key that was restored, or restored back, say so."""
    if repair.shown_before is None:
        return Verified()
    found = await marks.of(repair.tenant, repair.distinct_id, repair.days, timeout_s)
    told = []
    for day in repair.days:
        before, mark = repair.shown_before.get(str(day)), found.get(day)
        wanted = "salt" if repair.undoes is None and before == "rewrite" else before
        if mark is None or mark.mode != wanted:
            is_now = "gone" if mark is None else mark.mode
            told.append(f"the mark of {day_text(day)} is {is_now}, not {wanted}")
    return Verified(tuple(told))
