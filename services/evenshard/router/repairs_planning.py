"""Looks at a key's events where they are: what a repair would do to them, and all of them as an export gives them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from evenshard.api.v1 import admin_pb2, shard_pb2
from evenshard.directory.repair import (
    EXAMPLES_MAX,
    LEFT_LISTED_MAX,
    RepairRequest,
    day_text,
    hot_days,
    repair_request,
)
from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError, FieldFault
from evenshard.hotkeys.marks import Mark
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory
from evenshard.router.admin import budget_s
from evenshard.router.key_marks import KeyMarks
from evenshard.router.repairs_shown import examples_of, fixed_lines, lines_of
from evenshard.router.tenant_shards import TenantShards, first_failure
from evenshard.runtime.call import current_call
from evenshard.storage.choosing import KeyRows, key_rows
from evenshard.wire.repairs import key_rows_message
from evenshard.wire.rpcs import LOOK_AT_KEY, READ_KEY

SHARE_FOR_LOOKING: Final = 0.8
"""Of the time the caller has."""


class Planning:
    """Changes nothing."""

    def __init__(self, shards: TenantShards, clock: Clock) -> None:
        self._shards = shards
        self._clock = clock

    async def plan(
        self,
        request: RepairRequest,
        days: tuple[int, ...],
        marks: Mapping[int, Mark],
        refused: frozenset[str],
        tenant: Tenant,
    ) -> admin_pb2.RepairPlan:
        rows: KeyRows = key_rows(
            request.distinct_id,
            days,
            distinct_id_from=request.distinct_id_from if request.action == "reassign" else "",
            refused=refused,
            strict=tenant.settings.strict,
        )
        message = key_rows_message(rows)
        until_ms = self._clock.monotonic_ms() + SHARE_FOR_LOOKING * current_call().remaining_s() * 1000
        answered, failed = await self._shards.each(
            request.tenant,
            LOOK_AT_KEY,
            lambda epoch: shard_pb2.LookAtKeyRequest(
                tenant=request.tenant, epoch=epoch, rows=message, examples_max=LEFT_LISTED_MAX
            ),
            lambda: max(0.05, (until_ms - self._clock.monotonic_ms()) / 1000),
        )
        if failed:
            raise first_failure(failed)
        answers = [answer for _, answer in sorted(answered.items())]
        kept, rewritten = (sum(getattr(each, kind).rows for each in answers) for kind in ("kept", "rewritten"))
        left = sum(each.left.rows for each in answers)
        if request.action == "reassign" and not kept + rewritten:
            problem = (
                f"none of the key's {left:,} events has a property {request.distinct_id_from!r} that gives it another"
                " distinct_id"
            )
            raise EvenshardError("QUERY_INVALID", problem, fields=(FieldFault("distinct_id_from", problem),))
        if request.action == "reassign" and not rewritten and not request.include_earlier:
            problem = f"no remediated event of the key has it, but {kept:,} of before it was hot: include those"
            raise EvenshardError("QUERY_INVALID", problem, fields=(FieldFault("include_earlier", problem),))
        size = sum(each.rewritten.bytes for each in answers)
        size += sum(each.kept.bytes for each in answers) if request.takes_kept else 0
        kinds = ["rewritten", "kept"] if request.takes_kept else ["rewritten"]
        shown = [
            example
            for kind in kinds
            for each in answers
            for example in examples_of(getattr(each, kind).examples, request, marks, refused)
        ]
        listed = [line for each in answers for line in lines_of(each.left.examples)]
        return admin_pb2.RepairPlan(
            kept_rows=kept,
            rewritten_rows=rewritten,
            bytes=size,
            days=[day_text(day) for day in days],
            examples=shown[:EXAMPLES_MAX],
            left_rows=left,
            left=listed[:LEFT_LISTED_MAX],
        )


class KeyExport:
    """Of one key at a time."""

    def __init__(self, directory: Directory, shards: TenantShards) -> None:
        self._shards = shards
        self._marks = KeyMarks(directory)

    async def lines(self, asked: admin_pb2.ExportHotKeyRequest) -> AsyncGenerator[admin_pb2.ExportHotKeyResponse, None]:
        """Both sets of a key, each event once, under its original name and the right id, in no order."""
        request = repair_request(
            tenant_id(asked.tenant),
            asked.distinct_id,
            asked.from_date,
            asked.to_date,
            "export",
            asked.distinct_id_from,
            include_earlier=False,
        )
        marks, refused = await self._marks.with_refused(request.tenant, request.distinct_id, request.days, budget_s())
        rows = key_rows(request.distinct_id, hot_days(request, marks))
        tenant = await self._shards.tenant(request.tenant, budget_s())
        message = shard_pb2.ReadKeyRequest(
            tenant=tenant.name, epoch=tenant.placement.epoch, rows=key_rows_message(rows)
        )
        for shard in tenant.placement.shards:
            timeout_s = current_call().remaining_s()
            async with aclosing(self._shards.stream(shard, READ_KEY, message, timeout_s)) as messages:
                async for some in messages:
                    fixed = await asyncio.to_thread(fixed_lines, some.arrow_ipc, request.distinct_id_from, refused)
                    if fixed.rows:
                        yield fixed
