"""What rows of a scan's sources are woven, and whom that serves. Pure."""

from collections.abc import Callable, Container, Hashable, Iterable, KeysView, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from evenshard.events.scan import Bools, ScannedRows
from evenshard.events.user_runs import Int64


class Source(Protocol):
    """Rows that are read together."""

    key: Hashable

    @property
    def rows(self) -> int:
        """How many."""
        ...

    @property
    def times_ms(self) -> tuple[int, int]:
        """The first and the last."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether all of them that are within the range are meant, as they are stored."""
        ...

    def read(self, fields: Sequence[str]) -> ScannedRows:
        """With these."""
        ...


Range = tuple[int, int]
"""Of times, half-open."""
EVER: Final = (-(1 << 63), (1 << 63) - 1)


@dataclass(frozen=True, slots=True)
class Covers:
    """What rows are woven."""

    times_ms: Mapping[Hashable, tuple[int, int]]
    """The first and last time of each source, by its key."""
    range_ms: Range
    """Of the rows that are woven; EVER: all are."""

    @staticmethod
    def of(sources: Iterable[Source], range_ms: Range) -> "Covers":
        times = {source.key: source.times_ms for source in sources}
        cut = any(not is_inside(each, range_ms) for each in times.values())
        return Covers(times, range_ms if cut else EVER)

    @property
    def keys(self) -> KeysView[Hashable]:
        return self.times_ms.keys()

    @property
    def bounds_ms(self) -> tuple[int, int]:
        """No row is before the first or after the last."""
        times = [_within(each, self.range_ms) for each in self.times_ms.values()]
        return min(first for first, _ in times), max(last for _, last in times)

    def has(self, other: "Covers") -> bool:
        """Whether all that is woven by the other is by this."""
        return other.keys <= self.keys and all(
            is_inside(_within(times, other.range_ms), self.range_ms) for times in other.times_ms.values()
        )

    def serves(self, keys: Container[Hashable], range_ms: Range) -> bool:
        """Whether all that is woven and lies within a range is of the sources ``keys``, and is all they have of it."""
        return all(
            not _touches(times, range_ms) or (key in keys and is_inside(_within(times, range_ms), self.range_ms))
            for key, times in self.times_ms.items()
        )


def rows_within(source: Source, range_ms: Range) -> int:
    """About how many rows of a source are: as many as there would be if they were spread evenly."""
    first, last = source.times_ms
    if is_inside((first, last), range_ms):
        return source.rows
    inside_ms = min(last + 1, range_ms[1]) - max(first, range_ms[0])
    return max(1, source.rows * inside_ms // (last + 1 - first))


def kept_within(
    keep: Bools | None, times_ms: tuple[int, int], range_ms: Range, times: Callable[[], Int64]
) -> Bools | None:
    """Of rows that are kept (None: all) those within a range; ``times_ms``: none lies beyond. Only a bound that cuts is
    looked at."""
    if times_ms[0] < range_ms[0]:
        keep = _both(keep, times() >= range_ms[0])
    if times_ms[1] >= range_ms[1]:
        keep = _both(keep, times() < range_ms[1])
    return keep


def _both(one: Bools | None, other: Bools) -> Bools:
    return other if one is None else one & other


def is_inside(times_ms: tuple[int, int], range_ms: Range) -> bool:
    return range_ms[0] <= times_ms[0] and times_ms[1] < range_ms[1]


def _touches(times_ms: tuple[int, int], range_ms: Range) -> bool:
    return times_ms[0] < range_ms[1] and times_ms[1] >= range_ms[0]


def _within(times_ms: tuple[int, int], range_ms: Range) -> tuple[int, int]:
    """Those of them that are in the range."""
    return max(times_ms[0], range_ms[0]), min(times_ms[1], range_ms[1] - 1)
