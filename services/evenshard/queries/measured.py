"""Turns merged partials of a segmentation into the numbers shown: one a line and bucket, and one a line overall.

Sums are exact until they are shown: as an integer where they are whole and fit int64, else rounded once to a double.
Quantiles are exact: linear interpolation between the two numbers around the place q · (n − 1), rounded once to a
double. Of empty cells ``total``, ``unique`` and ``sum`` are 0, everything else is undefined (None); so is a sum beyond
every double.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.cell_values import COUNT
from evenshard.queries.groups import Integers
from evenshard.queries.measures import QUANTILES, Measure
from evenshard.queries.numbers import order_by_cell
from evenshard.queries.segmentation import OVERALL

Measured = int | float | None
NUMBERS_MAX = 16_000_000
"""Distinct pairs of a cell and a number of all shards, for quantiles; about 100 bytes each while they are sorted."""
SUMMED_MAX = 2**31
"""Numbers of a sum: their limbs fit int64."""
_INT64_MAX, _INT64_MIN = 2**63 - 1, -(2**63)
_TOP_WHOLE = float(np.nextafter(2.0**63, 0))


@dataclass(frozen=True, slots=True)
class _Cells:
    """Where rows of a table count: in their own cell and in that of the line overall. Cell = line · width + bucket, the
    last bucket being overall."""

    lines: int
    width: int

    def of(self, line: Integers, bucket: Integers) -> Integers:
        own = line * self.width + bucket
        whole = line * self.width + self.width - 1
        return np.concatenate([own, whole]).astype(np.int64)

    def split(self, flat: Sequence[Measured]) -> tuple[list[list[Measured]], list[Measured]]:
        rows = [list(flat[at * self.width : (at + 1) * self.width]) for at in range(self.lines)]
        return [row[:-1] for row in rows], [row[-1] for row in rows]


def measured_lines(
    measure: Measure, table: pa.Table, line: Integers, lines: int, buckets: int, name: str = ""
) -> tuple[list[list[Measured]], list[Measured]]:
    """For each of ``lines`` the value of each bucket, and overall. ``line``: of each row. ``name``: of the property.

    Raises ``QUERY_INVALID`` for more numbers than can be held."""
    cells = _Cells(lines, buckets + 1)
    bucket = table.column("bucket").to_numpy()
    if measure in ("total", "unique"):
        return cells.split(_counts(table, "events" if measure == "total" else "users", line, bucket, cells).tolist())
    if "amount" not in table.schema.names:  # nothing was measured anywhere
        return cells.split([0 if measure == "sum" else None] * (lines * cells.width))
    rows = np.flatnonzero(table.column("amount").is_valid().to_numpy())
    kept = table.take(pa.array(rows))
    if kept.num_rows > NUMBERS_MAX:
        raise EvenshardError(
            "QUERY_INVALID",
            f"property {name}: more than {NUMBERS_MAX} distinct numbers of groups and buckets",
            hint="quantiles are exact: ask for fewer days, a coarser unit, or filter with where",
            fields=(FieldFault("property", "it has too many distinct numbers"),),
        )
    places = cells.of(line[rows], bucket[rows])
    if measure == "average":
        events = np.zeros(lines * cells.width, np.int64)
        np.add.at(events, places, np.tile(kept.column("amount").to_numpy(), 2))
        users = _counts(table, "users", line, bucket, cells)
        return cells.split([of / by if by else None for of, by in zip(events.tolist(), users.tolist(), strict=True)])
    if measure in ("sum", "avg"):
        return cells.split(_sums(measure, kept, places, lines * cells.width, name))
    return cells.split(_chosen(measure, kept, places, lines * cells.width))


def _counts(table: pa.Table, column: str, line: Integers, bucket: Integers, cells: _Cells) -> Integers:
    """Sums of rows by cell; those overall stand in the table."""
    counts = np.zeros(cells.lines * cells.width, np.int64)
    shown = (bucket >= 0) | (bucket == OVERALL)
    places = line * cells.width + np.where(bucket == OVERALL, cells.width - 1, bucket)
    np.add.at(counts, places[shown], table.column(column).to_numpy()[shown])
    return counts


def _sums(measure: Measure, table: pa.Table, places: Integers, size: int, name: str) -> list[Measured]:
    limbs = np.tile(table.column("whole").to_numpy(), 2)
    amounts = np.tile(table.column("amount").to_numpy(), 2)
    counting = limbs == COUNT
    counts = np.zeros(size, np.int64)
    np.add.at(counts, places[counting], amounts[counting])
    if counts.max(initial=0) >= SUMMED_MAX:
        raise EvenshardError("QUERY_INVALID", f"property {name}: sums are of less than {SUMMED_MAX} numbers")
    lowest = min(0, int(limbs[~counting].min(initial=0)))
    sums = [0] * size
    rows = zip(places[~counting].tolist(), limbs[~counting].tolist(), amounts[~counting].tolist(), strict=True)
    for place, limb, amount in rows:
        sums[place] += amount << (32 * (limb - lowest))
    unit = 1 << (-32 * lowest)
    if measure == "sum":
        return [_shown(total, unit) for total in sums]
    return [total / (unit * count) if count else None for total, count in zip(sums, counts.tolist(), strict=True)]


def _shown(total: int, unit: int) -> Measured:
    whole, rest = divmod(total, unit)
    if not rest and _INT64_MIN <= whole <= _INT64_MAX:
        return whole
    try:
        return total / unit  # rounded once, as integers divide
    except OverflowError:
        return None


def _chosen(measure: Measure, table: pa.Table, places: Integers, size: int) -> list[Measured]:
    """Minima, maxima and quantiles: numbers by their rank in each cell."""
    whole, exact = table.column("whole").combine_chunks(), table.column("exact").combine_chunks()
    is_whole = np.tile(whole.is_valid().to_numpy(zero_copy_only=False), 2)
    integers = np.tile(whole.fill_null(0).to_numpy(), 2)
    doubles = np.tile(exact.fill_null(0.0).to_numpy(), 2)
    # By value: first the integer at or below, then the double itself; an integer stands before all that lies above it.
    floors = np.clip(np.floor(doubles), -(2.0**63), _TOP_WHOLE).astype(np.int64)
    floors[doubles >= 2.0**63] = _INT64_MAX
    first = np.where(is_whole, integers, floors)
    second = np.where(is_whole, np.minimum(integers.astype(np.float64), _TOP_WHOLE), doubles)
    half = len(first) // 2  # the second half says the same, of the lines overall
    if not is_whole.any():
        by_value = np.argsort(second[:half])
    else:
        by_value = np.argsort(first[:half]) if is_whole.all() else np.lexsort((second[:half], first[:half]))
    order = np.concatenate([order_by_cell(places[:half], by_value), half + order_by_cell(places[half:], by_value)])
    order = order[np.argsort(places[order], kind="stable")]
    ends = np.cumsum(np.tile(table.column("amount").to_numpy(), 2)[order])
    sorted_places = places[order]
    starts = np.flatnonzero(np.append(True, sorted_places[1:] != sorted_places[:-1]))[: len(order)]
    found = sorted_places[starts]
    before = np.append(0, ends)[starts]
    counts = np.append(before[1:], ends[-1:]) - before

    def numbers(ranks: Integers) -> list[int | float]:
        """Those with so many before them in their cells."""
        rows = order[np.searchsorted(ends, before + ranks, "right")]
        return [
            integer if mine else double
            for mine, integer, double in zip(
                is_whole[rows].tolist(), integers[rows].tolist(), doubles[rows].tolist(), strict=True
            )
        ]

    result: list[Measured] = [None] * size
    if measure in QUANTILES:
        up, down = QUANTILES[measure]
        ranks, rests = np.divmod(up * (counts - 1), down)
        uppers = numbers(np.minimum(ranks + 1, counts - 1))
        for place, low, high, rest in zip(found.tolist(), numbers(ranks), uppers, rests.tolist(), strict=True):
            result[place] = _between(low, high, rest, down)
    else:
        for place, number in zip(found.tolist(), numbers(counts - 1 if measure == "max" else counts * 0), strict=True):
            result[place] = number
    return result


def _between(low: float, high: float, part: int, parts: int) -> float:
    """``part`` of ``parts`` of the way from ``low`` to ``high``, rounded once."""
    if not part or low == high:
        return float(low)
    return float((Fraction(low) * (parts - part) + Fraction(high) * part) / parts)
