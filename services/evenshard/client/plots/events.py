"""Exported events over time: a bar a bucket of UTC, stacked by name."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.client.plots.canvas import GREY, PALETTE, QUIET, axes, legend, named, rising_from_zero
from evenshard.client.plots.days import ticks

NAMES_MAX: Final = 8
BUCKETS_MAX: Final = 62
_SECOND_MS, _HOUR_MS, _DAY_MS = 1_000, 3_600_000, 86_400_000
_WIDTHS_MS: Final = (
    *(_SECOND_MS * count for count in (1, 10, 60, 600)),
    *(_HOUR_MS * count for count in (1, 6)),
    *(_DAY_MS * count for count in (1, 7, 30, 365, 3650)),
)


def draw_events(rows: pa.Table, ax: Any) -> Any:
    """The most frequent names, the rest as one; buckets as wide as it takes for at most ``BUCKETS_MAX``."""
    ax, is_ours = axes(ax, 9.0, 4.2), ax is None
    ax.set_ylabel("events", color=QUIET)
    if not rows.num_rows:
        rising_from_zero(ax, [])
        return ax
    time_ms: npt.NDArray[np.int64] = rows.column("time").to_numpy()
    width_ms = next(width for width in _WIDTHS_MS if _buckets(time_ms, width) <= BUCKETS_MAX)
    first = int(time_ms.min()) // width_ms
    buckets = _buckets(time_ms, width_ms)
    labels, counts = _counts(rows.column("event"), time_ms // width_ms - first, buckets)
    bottom, handles = np.zeros(buckets), []
    for line, color in zip(counts, [*PALETTE[:NAMES_MAX], GREY], strict=False):
        handles.append(ax.bar(range(buckets), line, 0.85, bottom=bottom, color=color))
        bottom = bottom + line
    starts = [_label((first + at) * width_ms) for at in range(buckets)]
    ax.set_xticks(*ticks(starts, "hour" if width_ms < _DAY_MS else "day"))
    rising_from_zero(ax, bottom.tolist())
    legend(ax, handles, labels, place="beside" if is_ours else "inside")
    return ax


def _buckets(time_ms: npt.NDArray[np.int64], width_ms: int) -> int:
    return int(time_ms.max()) // width_ms - int(time_ms.min()) // width_ms + 1


def _counts(
    events: pa.ChunkedArray, bucket: npt.NDArray[np.int64], buckets: int
) -> tuple[Sequence[str], npt.NDArray[np.int64]]:
    """Events of each of the most frequent names, and of the rest where there is one, by bucket: (names, buckets)."""
    encoded = events.combine_chunks().dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy()
    table = np.bincount(codes * buckets + bucket, minlength=len(names) * buckets).reshape(len(names), buckets)
    ranked = sorted(range(len(names)), key=lambda at: (-int(table[at].sum()), names[at]))
    shown, rest = ranked[:NAMES_MAX], ranked[NAMES_MAX:]
    labels = [named(names[at]) for at in shown]
    if not rest:
        return labels, table[shown]
    return [*labels, f"… {len(rest):,} more"], np.vstack([table[shown], table[rest].sum(axis=0)])


def _label(time_ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)).isoformat()
