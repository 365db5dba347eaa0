"""The users of a tenant's parts, numbered over all of them; kept, so that the next scan numbers only what is new."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evenshard.errors import EvenshardError
from evenshard.events.packed_runs import PackedRuns, packed
from evenshard.events.united import united
from evenshard.events.user_runs import Int32, UserRuns
from evenshard.events.users import NO_PEOPLE, People
from evenshard.ids import TenantId
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.runs import OwnRuns


@dataclass(frozen=True, slots=True)
class Users:
    """``runs``: of each source, by its key; their numbers are places in ``people``."""

    people: People
    runs: Mapping[Hashable, UserRuns]


@dataclass(frozen=True, slots=True)
class _Held:
    """What is kept: runs packed, where they would not fit as they are."""

    people: People
    runs: Mapping[Hashable, UserRuns | PackedRuns]
    deletions: int
    """Up to this seq: a later one may have ended users."""

    @property
    def bytes(self) -> int:
        return self.people.bytes + sum(runs.bytes for runs in self.runs.values())

    def packed(self) -> "_Held":
        runs = {key: each if isinstance(each, PackedRuns) else packed(each) for key, each in self.runs.items()}
        return replace(self, runs=runs)

    def of(self, sources: "Sequence[Source]", also: Iterable[Hashable]) -> Users:
        """As scans read them."""
        keys = [*(source.key for source in sources), *(key for key in also if key in self.runs)]
        return Users(self.people, {key: _plain(self.runs[key]) for key in keys})


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
    also: Iterable[Hashable] = (),
) -> Users:
    """The users of ``sources``, and of those with the keys ``also``, where they are known. ``live``: whether a source
    is still there; others are forgotten. ``seq``: of the last deletion; users known before it are forgotten, for they
    may be deleted ones.

    Sources are decoded and joined some at a time, as many as the cache could hold. Raises ``QUERY_INVALID`` where users
    do not fit into it.
    """
    key = ("users", tenant)
    held: _Held | None = cache.get(key, scan)
    if held is None or held.deletions != seq:
        held = _Held(NO_PEOPLE, {}, seq)
    fresh = [source for source in sources if source.key not in held.runs]
    if not fresh:
        return held.of(sources, also)
    waiting: list[tuple[Hashable, OwnRuns]] = []
    waiting_bytes = 0
    for source in fresh:
        waiting.append((source.key, source.own_runs()))
        waiting_bytes += waiting[-1][1].bytes
        if waiting_bytes > cache.bytes_max:
            held = _joined(tenant, held, waiting, live, cache.bytes_max)
            waiting, waiting_bytes = [], 0
    if waiting:
        held = _joined(tenant, held, waiting, live, cache.bytes_max)
    cache.put(key, held, held.bytes, scan)
    return held.of(sources, also)


def keep_runs(
    cache: ColumnCache, scan: int, tenant: TenantId, people: People, runs: Mapping[Hashable, UserRuns], gone: Hashable
) -> bool:
    """Of more sources, whose users are numbered as ``people``: kept with all others, if those are the users still.
    False where there is no room. ``gone``: the key of a source that is no more."""
    key = ("users", tenant)
    held: _Held | None = cache.get(key, scan)
    if held is None or held.people is not people:
        return held is not None  # others have come meanwhile
    more = replace(held, runs={**{old: each for old, each in held.runs.items() if old != gone}, **runs})
    cache.put(key, more, more.bytes, scan)
    if cache.get(key, scan) is more:
        return True
    cache.put(key, held, held.bytes, scan)
    return False


def _joined(
    tenant: TenantId,
    held: _Held,
    more: Sequence[tuple[Hashable, OwnRuns]],
    live: Callable[[Hashable], bool],
    bytes_max: int,
) -> _Held:
    """What is held, and ``more`` sources, numbered together; in at most ``bytes_max``."""
    found = united(held.people, [own.people for _, own in more])
    runs = {key: _renumbered(each, found.numbers[0]) for key, each in held.runs.items() if live(key)}
    for (key, own), numbers in zip(more, found.numbers[1:], strict=True):
        assert numbers is not None
        runs[key] = replace(own.runs, numbers=numbers[own.runs.numbers].astype(np.int32, copy=False))
    held = _Held(found.people, runs, held.deletions)
    if held.bytes > bytes_max:
        held = held.packed()
    if held.bytes > bytes_max:
        raise EvenshardError(
            "QUERY_INVALID",
            f"the {len(held.people)} users of {tenant} on this shard need {held.bytes} bytes of memory, of "
            f"{bytes_max} that there are",
            hint="ask for fewer days, spread the tenant over more shards, or raise shard_memory_bytes",
        )
    return held


def _plain(runs: UserRuns | PackedRuns) -> UserRuns:
    return runs.unpacked() if isinstance(runs, PackedRuns) else runs


def _renumbered(runs: UserRuns | PackedRuns, numbers: Int32 | None) -> UserRuns | PackedRuns:
    """``numbers``: the new one of each; None: they are as they were."""
    if numbers is None:
        return runs
    plain = _plain(runs)
    plain = replace(plain, numbers=numbers[plain.numbers])
    return packed(plain) if isinstance(runs, PackedRuns) else plain
