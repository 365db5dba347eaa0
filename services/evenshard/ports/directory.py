"""The cluster's directory: a small, strongly consistent map with compare-and-swap and watches (etcd v3's model)."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from evenshard.ids import Revision


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it stands. ``revision`` is that of its last change, ``version`` counts its changes since creation."""

    key: str
    value: bytes
    revision: Revision


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Keys under a prefix, sorted, at one revision."""

    entries: Sequence[Entry]
    revision: Revision


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Holds if ``key`` was last changed at ``revision``; 0: it does not exist."""

    key: str
    revision: Revision


@dataclass(frozen=True, slots=True)
class Put:
    """Sets ``key``; with ``lease`` it goes when the lease does."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes ``key``; nothing happens where it is absent."""

    key: str


@dataclass(frozen=True, slots=True)
class SwapResult:
    """``swapped``: all conditions held and all changes were made, at ``revision``; else nothing was changed."""

    swapped: bool
    revision: Revision


@dataclass(frozen=True, slots=True)
class Changes:
    """What a watch saw, in order. ``entries`` were set, ``deleted`` removed, both at or below ``revision``.

    One revision at a time, so a key is in it at most once. Empty: nothing happened; the watch stands, and whoever
    resumes does so from ``revision``.
    ``reload``: the history was compacted away meanwhile; ``entries`` is then all there is under the prefix and
    everything else is gone.
    """

    entries: Sequence[Entry]
    deleted: Sequence[str]
    revision: Revision
    reload: bool = False


class Directory(Protocol):
    """Raises ``EvenshardError`` ``DIRECTORY_UNAVAILABLE`` where no answer came before the deadline."""

    async def get(self, key: str, *, timeout_s: float = 5.0) -> Entry | None:
        """The key as it stands now (linearizable)."""
        ...

    async def range(self, prefix: str, *, timeout_s: float = 5.0) -> Snapshot:
        """All keys that begin with ``prefix`` (linearizable)."""
        ...

    async def swap(
        self, conditions: Sequence[Unchanged], changes: Sequence[Put | Delete], *, timeout_s: float = 5.0
    ) -> SwapResult:
        """All or nothing; no key is changed twice in one swap. A lost reply is resolved by reading back, so the answer
        is what really happened; each Put of a conditional swap should therefore carry a value nobody else would write
        (ours hold a nonce). Where that is not possible before the deadline: ``DIRECTORY_UNAVAILABLE``, ``in_doubt``.
        ``OPERATION_STATE``: a Put's lease has lapsed."""
        ...

    def watch(self, prefix: str, after: Revision) -> AsyncIterator[Changes]:
        """Every change after ``after``, for ever, each once and in order; survives lost connections by resuming from
        the last revision it gave. Ends when the iterator is closed; where the directory stays away it raises
        ``DIRECTORY_UNAVAILABLE``: watch again after the last revision given."""
        ...

    async def grant(self, ttl_s: int, *, timeout_s: float = 5.0) -> int:
        """A new lease; it lapses ``ttl_s`` after the last ``keep_alive``."""
        ...

    async def keep_alive(self, lease: int, *, timeout_s: float = 5.0) -> bool:
        """False: it has lapsed."""
        ...

    async def revoke(self, lease: int, *, timeout_s: float = 5.0) -> None: ...

    async def close(self) -> None: ...
