"""Reads marks of hot keys to show them to people: the one place to change when marks grow."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from evenshard.directory.keys import MARKS, mark_key, marked_key, marks_of
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import Mark
from evenshard.hotkeys.report import MarkedKey
from evenshard.ids import TenantId
from evenshard.ports.directory import Directory

LOOKUPS_AT_ONCE: Final = 16
_EPOCH: Final = date(1970, 1, 1)


async def marked_keys(directory: Directory, tenant: TenantId, timeout_s: float) -> list[MarkedKey]:
    """All of a tenant. Raises ``DIRECTORY_UNAVAILABLE``, ``FORMAT_TOO_NEW``."""
    found = []
    for entry in (await directory.range(marks_of(tenant), timeout_s=timeout_s)).entries:
        _, distinct_id, day = marked_key(entry.key.removeprefix(MARKS))
        mark = Mark.from_json(entry.value)
        found.append(MarkedKey(distinct_id, _EPOCH + timedelta(days=day), mark.mode, mark.threshold, mark.made_ms))
    return found


async def modes_of(directory: Directory, keys: Sequence[tuple[str, str, str]], timeout_s: float) -> list[str]:
    """What the marks of keys (tenant, distinct_id, date) say becomes of their events; empty: there is none, or nobody
    knows, as the directory is away."""
    at_once = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def mode(tenant: str, distinct_id: str, day: str) -> str:
        name = mark_key(TenantId(tenant), distinct_id, (date.fromisoformat(day) - _EPOCH).days)
        try:
            async with at_once:
                entry = await directory.get(name, timeout_s=timeout_s)
        except EvenshardError as error:
            if not error.retryable:
                raise
            return ""
        return "" if entry is None else Mark.from_json(entry.value).mode

    return await asyncio.gather(*(mode(*key) for key in keys))
