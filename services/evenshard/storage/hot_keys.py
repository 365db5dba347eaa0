"""Hot keys whose rows a shard takes or refuses: those it has sealed, and those it keeps originals of. Pure.

What a shard takes of a key is where its copies meet, so it must be one shard for each identity, at any time: the home
until it has sealed the key, from then on the shard to which the overflow brings the identity; and another one than the
home takes nothing before it keeps the identities of all copies that the home holds.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES, EventBatch
from evenshard.events.hashing import slots_of, spread_hashes
from evenshard.hotkeys.aggregate import aggregate
from evenshard.hotkeys.watched import WatchedKeys
from evenshard.ids import TenantId
from evenshard.storage.append import Append

Bools = npt.NDArray[np.bool_]
UserDay = tuple[str, int]
"""A distinct_id and a UTC day (days since the epoch)."""
NAMED_MAX = 100
"""Keys that a refusal names; the others are met when the batch comes again."""


@dataclass(frozen=True, slots=True)
class Page:
    """Identities of the home with hashes from ``hash_from`` on, up to that of the next page."""

    hash_from: int
    hash_next: int
    """0: there are no more."""
    segments: tuple[int, ...]
    """Ids of the files that hold them; none where none of them come here."""


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A hot key as one shard knows it."""

    distinct_id: str
    day: int
    nonce: str
    """Of its mark."""
    has_hot_rows: bool
    """Its rows bear the hot bit."""
    sealed: bool
    """This shard is its home, or was; else it keeps originals."""
    pages: tuple[Page, ...] = ()
    """That are kept, as they came."""
    brought_by: tuple[str, ...] = ()
    """Names of the moves by which it came here; records without one lack it."""

    @property
    def key(self) -> UserDay:
        return self.distinct_id, self.day

    @property
    def segments(self) -> list[int]:
        """Ids of the files with its originals."""
        return [number for page in self.pages for number in page.segments]

    @property
    def is_ready(self) -> bool:
        """Whether all copies that there may be of its rows are known here: pages lead from the first hash to the end.
        Those of several hand-overs may be among them; each has all identities between its hashes."""
        if self.sealed:
            return True
        reached, left = {0}, list(self.pages)
        while found := [page for page in left if page.hash_from in reached]:
            if any(page.hash_next == 0 for page in found):
                return True
            reached |= {page.hash_next for page in found}
            left = [page for page in left if page not in found]
        return False

    def has(self, hash_from: int, hash_next: int) -> bool:
        """Whether this very page is kept."""
        return any((page.hash_from, page.hash_next) == (hash_from, hash_next) for page in self.pages)


def to_json(held: HeldKey) -> bytes:
    """As the catalog stores it."""
    record = asdict(held)
    if not held.brought_by:
        del record["brought_by"]
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()


def from_json(data: bytes) -> HeldKey:
    """What ``to_json`` wrote; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    record = json.loads(data)
    record["pages"] = tuple(
        Page(page["hash_from"], page["hash_next"], tuple(page["segments"])) for page in record["pages"]
    )
    record["brought_by"] = tuple(record.get("brought_by", ()))
    return HeldKey(**record)


class HeldKeys:
    """Of one tenant. Mutable; the store's ``append_lock`` guards it."""

    def __init__(self, tenant: TenantId, held: Iterable[HeldKey]) -> None:
        self._tenant = tenant
        self._held = {each.key: each for each in held}
        self._watched = WatchedKeys()
        """Keys that have gone may be among them."""
        self._watched.add([(tenant, *key) for key in self._held])

    def get(self, key: UserDay) -> HeldKey | None:
        """None: nothing is special about it here."""
        return self._held.get(key)

    def all(self) -> list[HeldKey]:
        """By key."""
        return [self._held[key] for key in sorted(self._held)]

    def of_users(self, users: Iterable[str]) -> list[HeldKey]:
        """Those of some users."""
        chosen = frozenset(users)
        return [held for held in self._held.values() if held.distinct_id in chosen]

    def put(self, held: HeldKey) -> None:
        """This is known of its key from now on."""
        self._held[held.key] = held
        self._watched.add([(self._tenant, *held.key)])

    def remove(self, gone: Iterable[HeldKey]) -> None:
        """Nothing is special about their keys any more."""
        for held in gone:
            del self._held[held.key]

    def check(self, append: Append) -> Bools | None:
        """Which rows of a batch are spread: taken for the overflow, not for their home; None: none is.

        Raises ``KEY_SEALED``, naming keys, for a batch with rows that another shard takes, or that this one takes
        otherwise; ``STALE_EPOCH`` for rows in slots that are not this shard's."""
        assert append.hashes is not None
        placement = append.hashes.placement
        at_home = append.owned[slots_of(placement)]
        if at_home.all() and (append.audits or not self._held):
            return None
        record = append.batch.record
        times = record.column("time").to_numpy()
        special = ~at_home | self._watched.rows_of(self._tenant, placement, times)
        if not special.any():
            return None
        keys = aggregate(record.column("distinct_id"), times, placement, special)
        known = [self._held.get(key) for key in _keys(keys.record)]
        rows = np.flatnonzero(special)
        numbers = keys.key_of_row[rows]
        if (numbers < 0).any():  # anonymous rows go by their identity anyway
            raise _not_owned(self._tenant)
        taken = self._taken(append, rows, numbers, known, at_home[rows])
        if not taken.all():
            names = _keys(keys.record.take(pa.array(np.unique(numbers[~taken]))))
            if append.overflow is None and any(self._held.get(key) is None for key in names):
                raise _not_owned(self._tenant)
            raise KeySealedError(self._tenant, names[:NAMED_MAX])
        spread = np.zeros(placement.size, np.bool_)
        spread[rows] = np.array([held is not None for held in known], np.bool_)[numbers]
        return spread if spread.any() else None

    def _taken(
        self,
        append: Append,
        rows: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int32],
        known: Sequence[HeldKey | None],
        at_home: Bools,
    ) -> Bools:
        """Which of some rows of these keys, by their numbers, are taken here."""
        assert append.hashes is not None
        spread_here = np.zeros(rows.size, np.bool_)
        if append.overflow is not None:
            fields = EventBatch(append.batch.record.select(FIELD_NAMES).take(pa.array(rows)))
            spread_here = append.overflow[slots_of(spread_hashes(self._tenant, fields, append.hashes.placement[rows]))]
        hot = np.zeros(rows.size, np.bool_) if append.hot is None else append.hot[rows]
        is_plain = np.array([held is None for held in known], np.bool_)[numbers]
        is_ready = np.array([held is not None and held.is_ready for held in known], np.bool_)[numbers]
        needs_hot = np.array([held is not None and held.has_hot_rows for held in known], np.bool_)[numbers]
        taken: Bools = np.where(is_plain, at_home, is_ready & spread_here & (hot | ~needs_hot))
        return taken


class KeySealedError(EvenshardError):
    """``KEY_SEALED``, with the keys it is about."""

    def __init__(self, tenant: TenantId, keys: Sequence[UserDay]) -> None:
        super().__init__("KEY_SEALED", f"rows of {len(keys)} hot keys of {tenant} go to other shards, or not yet here")
        self.keys = tuple(keys)


def _not_owned(tenant: TenantId) -> EvenshardError:
    return EvenshardError("STALE_EPOCH", f"rows of {tenant} lie in slots that are not this shard's")


def _keys(record: pa.RecordBatch) -> list[UserDay]:
    return list(zip(record.column("distinct_id").to_pylist(), record.column("day").to_pylist(), strict=True))
