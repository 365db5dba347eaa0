"""Layers: rows of a tenant that a repair took out of the others, or brings, in segments of their own. Pure.

Such a segment is never merged with others, so one record in the catalog says of all its rows whether they are shown,
and whether they *count*: are originals, which later copies are duplicates of. Changing that record moves no byte.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

from evenshard.storage.segment.info import SegmentInfo

COPIED: Final = "copied/"
TRASH: Final = "trash/"
"""What the names of layers begin with: of rows that came in a move, and are like any others as soon as they may be; and
of rows that were dropped."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a tenant on a shard."""

    name: str
    shown: bool
    """Whether queries see its rows."""
    counts: tuple[tuple[int, bool], ...]
    """From which position of the log on its rows are originals, or are not any more; ascending, the first from 0."""

    @property
    def counts_now(self) -> bool:
        return self.counts[-1][1]

    def counts_at(self, position: int) -> bool:
        """For rows that were stored from there on."""
        return next(counts for since, counts in reversed(self.counts) if since <= position)

    def changed(self, position: int, *, shown: bool, counts: bool) -> "Layer":
        """As it is from a position on, at which the next row will be stored."""
        if counts == self.counts_now:
            return replace(self, shown=shown)
        return replace(self, shown=shown, counts=(*self.counts, (position, counts)))


def taken_layer(name: str) -> Layer:
    """Of rows that were there: nothing has changed for them yet."""
    return Layer(name, shown=True, counts=((0, True),))


def waiting_layer(name: str) -> Layer:
    """Of rows that are to come: nobody sees them, and they are nobody's originals."""
    return Layer(name, shown=False, counts=((0, False),))


_REPLACED: Final = ".replaced"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a layer."""

    layer: str
    shown: bool
    counts: bool
    frees: str = ""
    """Where its rows cease to be originals: the layer of those that somebody else sent too, and that are on their own
    then. Empty: duplicates of its rows go with them."""

    @property
    def replaced(self) -> str:
        """The layer of the copies whose place those take that are freed."""
        return self.frees + _REPLACED

    @staticmethod
    def is_replaced(layer: str) -> bool:
        """Whether it is such a layer."""
        return layer.endswith(_REPLACED)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an operation will do to layers of a tenant on a shard, all at once."""

    operation: str
    changes: tuple[Change, ...]
    done: bool = False

    @property
    def replaced(self) -> list[str]:
        """Layers that go with it: their rows come as others."""
        return [change.replaced for change in self.changes if change.frees]


def layer_to_json(layer: Layer) -> bytes:
    """As the catalog stores it."""
    return json.dumps(asdict(layer), separators=(",", ":"), sort_keys=True).encode()


def layer_from_json(data: bytes) -> Layer:
    """What ``layer_to_json`` wrote."""
    record = json.loads(data)
    return Layer(record["name"], record["shown"], tuple((since, counts) for since, counts in record["counts"]))


def prepared_to_json(prepared: Prepared) -> bytes:
    """As the catalog stores it."""
    return json.dumps(asdict(prepared), separators=(",", ":"), sort_keys=True).encode()


def prepared_from_json(data: bytes) -> Prepared:
    """What ``prepared_to_json`` wrote."""
    record = json.loads(data)
    changes = tuple(Change(**change) for change in record["changes"])
    return Prepared(record["operation"], changes, record["done"])


def shown(segments: tuple[SegmentInfo, ...], layers: Mapping[str, Layer]) -> tuple[SegmentInfo, ...]:
    """Those that queries see."""
    if not layers:
        return segments
    return tuple(each for each in segments if not each.layer or layers[each.layer].shown)


def counting(
    segments: Iterable[SegmentInfo], layers: Mapping[str, Layer], position: int | None = None
) -> tuple[SegmentInfo, ...]:
    """Those whose rows are originals, now or for rows that were stored from a position on."""
    if not layers:
        return tuple(segments)

    def counts(layer: Layer) -> bool:
        return layer.counts_now if position is None else layer.counts_at(position)

    return tuple(each for each in segments if not each.layer or counts(layers[each.layer]))


def copies_count(layers: Mapping[str, Layer], position: int | None = None) -> bool:
    """Whether a copy in a segment tells that its event is known: not where rows of a layer are originals no more. A
    copy of theirs that came before that, and is not in the layer, stands for nobody."""
    return all(layer.counts_now if position is None else layer.counts_at(position) for layer in layers.values())


def plain(segments: Iterable[SegmentInfo]) -> tuple[SegmentInfo, ...]:
    """Those that are of no layer: what compactions plan with."""
    return tuple(each for each in segments if not each.layer)


def of_layer(segments: Iterable[SegmentInfo], layer: str) -> tuple[SegmentInfo, ...]:
    """Those of one."""
    return tuple(each for each in segments if each.layer == layer)


def turning_points(layers: Iterable[Layer]) -> list[int]:
    """The positions at which rows begin, or cease, to be originals; ascending."""
    return sorted({since for layer in layers for since, _ in layer.counts if since})
