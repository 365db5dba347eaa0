"""The users of a tenant's parts, numbered over all of them; kept, so that the next scan numbers only what is new."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evenshard.errors import EvenshardError
from evenshard.events.user_runs import UserRuns
from evenshard.events.users import NO_PEOPLE, People, united
from evenshard.ids import TenantId
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.runs import OwnRuns


@dataclass(frozen=True, slots=True)
class Users:
    """``runs``: of each source, by its key; their numbers are places in ``people``."""

    people: People
    runs: Mapping[Hashable, UserRuns]
    deletions: int
    """Up to this seq: a later one may have ended users."""

    @property
    def bytes(self) -> int:
        return self.people.bytes + sum(runs.bytes for runs in self.runs.values())


@dataclass(frozen=True, slots=True)
class Source:
    """A part of a segment, or a block."""

    key: Hashable
    """Names nothing else, ever."""
    own_runs: Callable[[], OwnRuns]
    """Decodes the ids."""


def users_of(
    cache: ColumnCache,
    scan: int,
    tenant: TenantId,
    sources: Sequence[Source],
    live: Callable[[Hashable], bool],
    seq: int,
) -> Users:
    """The users of ``sources`` at least. ``live``: whether a source is still there; others are forgotten. ``seq``: of
    the last deletion; users known before it are forgotten, for they may be deleted ones.

    Raises ``QUERY_INVALID`` where they do not fit into the cache.
    """
    key = ("users", tenant)
    held: Users | None = cache.get(key, scan)
    if held is None or held.deletions != seq:
        held = Users(NO_PEOPLE, {}, seq)
    fresh = [source for source in sources if source.key not in held.runs]
    if not fresh:
        return held
    own = [source.own_runs() for source in fresh]
    found = united(held.people, [each.people for each in own])
    renumbered = found.numbers[0]
    runs = {
        key: runs if renumbered is None else replace(runs, numbers=renumbered[runs.numbers])
        for key, runs in held.runs.items()
        if live(key)
    }
    for source, each, numbers in zip(fresh, own, found.numbers[1:], strict=True):
        assert numbers is not None
        runs[source.key] = replace(each.runs, numbers=numbers[each.runs.numbers].astype(np.int32, copy=False))
    users = Users(found.people, runs, seq)
    if users.bytes > cache.bytes_max:
        raise EvenshardError(
            "QUERY_INVALID",
            f"the {len(users.people)} users of {tenant} on this shard need {users.bytes} bytes of memory, of "
            f"{cache.bytes_max} that there are",
            hint="ask for fewer days, spread the tenant over more shards, or raise shard_memory_bytes",
        )
    cache.put(key, users, users.bytes, scan)
    return users
