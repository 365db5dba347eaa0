"""Takes deletions: durable in the catalog, then hidden from every later snapshot, and nobody's original from then on.

Under ``append_lock``, so a deletion stands between two groups of the log: a replay applies it where it came, and
derives every duplicate bit as it was decided.
"""

from collections.abc import Callable, Iterable, Sequence

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.storage.deletions import Deletion
from evenshard.storage.hot_keys import HeldKey, UserDay
from evenshard.storage.moving.record import MoveRecord
from evenshard.storage.segment.identities import IndexedIdentities
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantRows


def hide_users(
    state: State, tenant: TenantId, operation: str, users: Iterable[str], ended: Iterable[UserDay] = ()
) -> int:
    """Hides all rows of ``users`` that are stored now, unless ``operation`` has been here; under ``append_lock``.

    With it goes what is known here of hot keys that have ``ended``: from then on the key is like any other, and another
    shard may take its rows. So where there are such, rows are hidden once more, though the operation has been here:
    those that were stored while the key was hot must not be met by copies elsewhere.

    Returns how many unindexed rows it hides. Durable at return; raises ``DISK_FULL`` with nothing changed, and
    ``SHARD_UNAVAILABLE`` where the outcome is open until a restart.
    """
    rows = state.rows(tenant)
    ends = [held for key in ended if (held := rows.held.get(key)) is not None]
    for known in state.catalog.deletions(tenant):
        if operation and known.operation == operation and not ends:
            return rows.tail_rows_hidden_by(known)
    wanted = tuple(sorted({user for user in users if user}))
    deletion = Deletion(_next_seq(state, tenant), state.writer.next_row, operation, wanted)
    return take(state, rows, deletion, (), ends)


def raise_horizon(state: State, tenant: TenantId, horizon_ms: int) -> int:
    """Hides all rows stored now of times before ``horizon_ms``, unless the horizon is that high already; under
    ``append_lock``. Returns the horizon that holds. Durability and errors as of ``hide_users``."""
    if horizon_ms > state.catalog.horizon_ms(tenant):
        rows = state.rows(tenant)
        deletion = Deletion(_next_seq(state, tenant), state.writer.next_row, "", horizon_ms=horizon_ms)
        take(state, rows, deletion, superseded(rows))
    return state.catalog.horizon_ms(tenant)


def _next_seq(state: State, tenant: TenantId) -> int:
    return state.catalog.last_deletion(tenant) + 1


def superseded(rows: TenantRows) -> list[int]:
    """Horizons that a later one, known too, covers with all rows a replay has to judge: all below it are indexed."""
    horizons = [record for record in rows.visible.deletions.records if record.horizon_ms is not None]
    later = [record for record in horizons if record.position <= rows.visible.mark]
    return [record.seq for record in later[:-1]]


def take(
    state: State,
    rows: TenantRows,
    deletion: Deletion,
    gone_seqs: Sequence[int],
    ended: Sequence[HeldKey] = (),
    move: MoveRecord | None = None,
) -> int:
    """Hides what a deletion hides of all rows there are, in place of those it makes superfluous; hot keys that have
    ``ended`` go. ``move``: the one by which it came, as it is with it. Returns how many unindexed rows it hides."""
    hidden = rows.hidden_by(deletion)
    seq = deletion.seq
    files = {number for held in ended for number in held.segments}
    gone = [info for info in state.catalog.originals(rows.tenant) if info.id in files]
    _commit(
        state,
        rows.tenant,
        lambda: state.catalog.last_deletion(rows.tenant) == seq,
        lambda: state.catalog.add_deletion(rows.tenant, deletion, gone_seqs, ended, move),
    )
    if ended:
        rows.held.remove(ended)
        rows.originals = IndexedIdentities(state.disk, state.catalog.counting_originals(rows.tenant), state.cache)
        state.cache.forget(files)
    with state.visible_lock:
        rows.hide(hidden)
        rows.forget_deletions(gone_seqs)
    state.pins.remove(gone)
    return hidden.rows


def _commit(state: State, tenant: TenantId, done: Callable[[], bool], change: Callable[[], None]) -> None:
    """Where the outcome stays open, the log takes nothing more: bits of what followed might have to be others."""
    try:
        with state.changing_catalog():
            change()
    except EvenshardError as error:
        if done():
            # Committed; only emptying SQLite's own log failed, which the next change does again.
            state.report(f"a deletion of {tenant} was stored, but the catalog could not be tidied: {error.message}")
        elif error.code != "DISK_FULL":
            state.writer.stop(f"it is not known whether a deletion of {tenant} was stored: {error.message}")
            raise
        else:
            raise
    except BaseException:
        if not done():
            state.writer.stop(f"it is not known whether a deletion of {tenant} was stored")
        raise
