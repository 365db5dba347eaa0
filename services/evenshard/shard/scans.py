"""Answers queries from snapshots, in threads; stops early when the caller has gone or its time is up."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from evenshard.errors import EvenshardError
from evenshard.events.held import Held
from evenshard.events.scan import Part, Parts, PassedOver
from evenshard.hotkeys.restored import Restored
from evenshard.hotkeys.view import View
from evenshard.ids import Epoch, TenantId
from evenshard.queries.pruning import RowsThatMatter, may_matter
from evenshard.queries.reunion import ShardAnswer, answer
from evenshard.queries.scan_plans import sees_as_it_came
from evenshard.queries.scans import Rows, columns_needed, copies_are_only_counted, rows_needed
from evenshard.queries.split import Split
from evenshard.queries.views import view_for
from evenshard.storage.columns.sources import Wanted
from evenshard.storage.ownership import Ownership
from evenshard.storage.store import Store


class Patience:
    """How long a thread goes on: until a deadline, or until it is told that nobody waits any more."""

    def __init__(self, remaining_s: float) -> None:
        self._deadline_s = time.monotonic() + remaining_s
        self._gone = threading.Event()

    def give_up(self) -> None:
        """Nobody waits."""
        self._gone.set()

    def check(self) -> None:
        """Raises ``DEADLINE_EXCEEDED``."""
        if self._gone.is_set() or time.monotonic() >= self._deadline_s:
            raise EvenshardError("DEADLINE_EXCEEDED", "the scan was not done in time")


async def scan(
    store: Store,
    pool: ThreadPoolExecutor,
    tenant: TenantId,
    epoch: Epoch,
    owned: Ownership,
    plan: bytes,
    split_at: Callable[[], Split | None],
    restored: Restored,
    remaining_s: float,
    on_begin: Callable[[], None] = lambda: None,
) -> tuple[ShardAnswer, str]:
    """Runs ``plan`` over everything acknowledged by now in the slots ``owned``: the answer, and the version of the
    data. ``split_at`` tells what is known of split users, ``restored`` which hot keys were restored; ``on_begin`` is
    told in the thread that runs it. Raises
    ``STALE_EPOCH``, ``QUERY_INVALID``, ``DATA_DAMAGED``, ``DEADLINE_EXCEEDED``."""
    patience = Patience(remaining_s)

    def run() -> tuple[ShardAnswer, str]:
        on_begin()
        return _scan(store, tenant, epoch, owned, plan, split_at, restored, patience)

    try:
        return await asyncio.get_running_loop().run_in_executor(pool, run)
    finally:
        patience.give_up()


def _scan(
    store: Store,
    tenant: TenantId,
    epoch: Epoch,
    owned: Ownership,
    plan: bytes,
    split_at: Callable[[], Split | None],
    restored: Restored,
    patience: Patience,
) -> tuple[ShardAnswer, str]:
    patience.check()
    store.fence(tenant, epoch)
    shown = None if sees_as_it_came(plan) else restored
    asked, views, split = columns_needed(plan), [view_for(plan, shown)], split_at()
    with store.snapshot(tenant, owned) as snapshot:
        snapshot.check_epoch(epoch)

        def read(scan: bytes) -> Rows:
            needed, view = columns_needed(scan), view_for(scan, shown)
            views.append(view)
            matter = matters(rows_needed(scan))
            if needed.properties is None:  # whole rows are shown once, and would drive out what is asked for again
                fields = needed.fields_without_users
                rows = snapshot.scan_to_show(fields, None, needed.start_ms, needed.end_ms, matter)
                return map(view.show, rows)
            wanted = Wanted(
                needed.fields, needed.properties, needed.start_ms, needed.end_ms, needed.users, matter, needed.late,
                copies_apart=split is None and copies_are_only_counted(scan),
            )  # fmt: skip
            stored = snapshot.parts(wanted)
            passed_over = [_passed_over(each, view) for each in stored.passed_over]
            return Parts(_all_shown(stored.parts, view), stored.people, passed_over)

        found = answer(plan, read, split, patience.check)
        rewritten = views[-1].rewritten  # the query's own scan comes last
        given_up = snapshot.rows_given_up(asked.start_ms, asked.end_ms)
        stats = replace(
            found.stats,
            bytes_scanned=found.stats.bytes_scanned + snapshot.bytes_looked_up,
            hot_events_rewritten=rewritten,
            rows_given_up=given_up,
        )
        return replace(found, stats=stats), snapshot.data_version


def matters(rows: RowsThatMatter | None) -> Callable[[Held], bool] | None:
    """Tells what need not be read; None: everything has to be."""
    return None if rows is None else lambda held: may_matter(rows, held)


def _passed_over(some: PassedOver, view: View) -> PassedOver:
    return replace(some, parts=lambda: _all_shown(some.parts(), view))


def _all_shown(parts: Sequence[Part], view: View) -> list[Part]:
    return [_shown(part, view) for part in parts]


def _shown(part: Part, view: View) -> Part:
    return replace(part, read=lambda: view.show(part.read()))
