"""Ends the log file that is written to by its age, and says whose rows keep one too long.

So a log file is gone within ``log_age_ms`` of its first frame, whatever the slowest tenant does: after half of that no
more is written to it, and from then on whoever still has rows in it is indexed, paused or not, and *apart* where its
compaction fails. The other half is the time that takes.
"""

from evenshard.ids import TenantId
from evenshard.storage.indexing import remove_log_files
from evenshard.storage.state import State


def age_log(state: State, now_ms: int) -> list[TenantId]:
    """To be called every second or so. Returns the tenants that are to be indexed now, by name. Where the disk gets
    full, scratch gives back its oldest part.

    Raises ``DISK_FULL`` and ``SHARD_UNAVAILABLE`` where no new file can be begun; to be tried again.
    """
    old_ms = now_ms - state.settings.log_age_ms // 2
    with state.append_lock:
        state.cache.scratch.leave_room()
        number = state.writer.number
        begun_ms = state.log_files.begun_ms(number)
        ends = begun_ms is not None and begun_ms <= old_ms and state.refuses_changes is None
        if ends:
            rotate(state)
        old = state.log_files.begun_before(old_ms)
        keepers = state.log_files.keeping(old[-1], state.catalog.mark) if old else []
        removable = bool(state.log_files.removable(state.writer.number, state.needed_from))
    if removable:
        remove_log_files(state)
    return keepers


def rotate(state: State) -> None:
    """Goes on in a new log file; under ``append_lock``. Raises as an append."""
    state.writer.rotate()
    state.log_files.add(state.writer.number)
