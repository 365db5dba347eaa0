"""A retention as a triangle: a row a cohort with its size, darker where more returned; or as curves of averages."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evenshard.client.plots.canvas import (
    INK,
    NOT_OVER,
    PALETTE,
    QUIET,
    axes,
    bare,
    legend,
    named,
    rising_from_zero,
    size_inch,
)
from evenshard.client.plots.trend import SERIES_MAX, explain, lines
from evenshard.client.retentions import RetentionResult
from evenshard.text.cells import value_text
from evenshard.text.retention import cell
from evenshard.text.table import Heat

_TENTHS_INCH, _WRITTEN_INCH, _WRITTEN_ROW_INCH = 0.42, 0.3, 0.15
"""Cells must be so wide for a share with tenths, and for one without, and so high."""
_WRITTEN_CELLS_MAX: Final = 800
_NAMED_ROWS_MAX: Final = 60
_GAP: Final = 0.35
"""Between the last cohort and the average, of a row's height."""

Cohort = Mapping[str, Any]


def draw_triangle(result: RetentionResult, ax: Any) -> Any:
    """Everybody's cohorts, the first on top, and below them the average. A cell that is not over and to which nobody
    has returned yet is left out (masked); one that may still grow is hatched."""
    rows, buckets = len(result.cohorts), len(result.average)
    width, height = min(20.0, 2.6 + 0.72 * buckets), min(16.0, 1.5 + 0.36 * (rows + 2))
    ax = axes(ax, max(5.0, width), max(2.6, height))
    shares = [[cell(cohort, at) for at in range(buckets)] for cohort in result.cohorts]
    known = [each.share for row in shares for each in row[1:] if each.share is not None and not each.is_open]
    darkest = max([*known, *[share for share in result.average[1:] if share is not None]], default=1.0) or 1.0
    style = {"cmap": _colors(), "vmin": 0.0, "vmax": darkest, "edgecolor": "white", "linewidth": 1.2}
    if rows and buckets:
        values = _masked([[each.share for each in row] for row in shares])
        ax.pcolormesh(range(buckets + 1), range(rows + 1), values, **style)
    if buckets:
        edges = [rows + _GAP, rows + _GAP + 1]
        ax.pcolormesh(range(buckets + 1), edges, _masked([result.average]), **style)
    open_cells = [(row, at) for row, line in enumerate(shares) for at, each in enumerate(line) if each.is_open]
    _hatch(ax, open_cells)
    width_inch, height_inch = size_inch(ax)
    cell_inch = width_inch / (buckets + 1)
    fits = cell_inch >= _WRITTEN_INCH and height_inch / (rows + 2) >= _WRITTEN_ROW_INCH
    if fits and rows * buckets <= _WRITTEN_CELLS_MAX:
        digits = int(cell_inch >= _TENTHS_INCH)
        for row, line in enumerate(shares):
            for at, each in enumerate(line):
                _write(ax, at, row, each, darkest, digits)
        for at, share in enumerate(result.average):
            _write(ax, at, rows + _GAP, Heat(share), darkest, digits)
    _name_rows(ax, result.cohorts, rows)
    _name_buckets(ax, buckets, result.unit)
    return ax


def draw_curves(result: RetentionResult, ax: Any) -> Any:
    """The average by bucket, a line a group, or one of everybody; as far as any cohort's bucket is over."""
    from matplotlib.ticker import PercentFormatter

    ax, is_ours = axes(ax, 8.0, 4.2), ax is None
    groups = result.groups[:SERIES_MAX] if result.by else []
    averages = [group["average"] for group in groups] if result.by else [result.average]
    handles = [lines(ax, each, len(each), color) for each, color in zip(averages, PALETTE, strict=False)]
    rising_from_zero(ax, [share for each in averages for share in each if share is not None])
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    buckets = len(result.average)
    places = list(range(0, buckets, -(-buckets // 12) or 1))
    ax.set_xticks(places)
    ax.set_xlabel(result.unit, color=QUIET)
    ax.set_ylabel("returned", color=QUIET)
    labels = [named(" / ".join(map(value_text, group["by"]))) for group in groups]
    title = " / ".join(map(named, result.by))
    left_out = len(result.groups) - len(groups)
    explain(ax, handles if labels else [], labels, title, left_out, has_open=False, beside=is_ours and bool(labels))
    return ax


def _masked(rows: Sequence[Sequence[float | None]]) -> Any:
    import numpy as np

    values = np.array([[np.nan if share is None else share for share in row] for row in rows], np.float64)
    return np.ma.masked_invalid(values)


def _colors() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("retention", ["#f3f7fc", "#a9c6e8", "#3b6fb6", "#1d3f75"])


def _hatch(ax: Any, cells: Sequence[tuple[int, int]]) -> None:
    if not cells:
        return
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Patch

    corners = [[(at, row), (at + 1, row), (at + 1, row + 1), (at, row + 1)] for row, at in cells]
    ax.add_collection(PolyCollection(corners, facecolors="none", edgecolors="white", hatch="////", linewidths=0))
    key = Patch(facecolor="#a9c6e8", edgecolor="white", hatch="////")
    legend(ax, [key], [NOT_OVER], place="below")


def _write(ax: Any, at: int, row: float, cell: Heat, darkest: float, digits: int) -> None:
    share = cell.share
    if share is None:
        return
    color = "white" if share > 0.55 * darkest else INK
    ax.text(at + 0.5, row + 0.5, f"{share * 100:.{digits}f}%" if share < 0.995 else "100%", ha="center", va="center",
            color=color, fontsize=8, style="italic" if cell.is_open else "normal")  # fmt: skip


def _name_rows(ax: Any, cohorts: Sequence[Cohort], rows: int) -> None:
    """When each cohort was born, and how many it has."""
    step = -(-rows // _NAMED_ROWS_MAX) or 1
    places = list(range(0, rows, step))
    ax.set_yticks(
        [*(place + 0.5 for place in places), rows + _GAP + 0.5], [*(cohorts[at]["start"] for at in places), "average"]
    )
    sizes = [*((place + 0.5, cohorts[place]["size"]) for place in places)]
    sizes.append((rows + _GAP + 0.5, sum(cohort["size"] for cohort in cohorts)))
    for place, size in sizes:
        ax.text(-0.15, place, f"{size:,}", ha="right", va="center", color=QUIET, fontsize=8.5)
    ax.set_ylim(rows + _GAP + 1, 0)


def _name_buckets(ax: Any, buckets: int, unit: str) -> None:
    ax.xaxis.tick_top()
    step = -(-buckets // 24) or 1
    places = list(range(0, buckets, step))
    names = [_bucket_name(at, unit) for at in places]
    ax.set_xticks([-0.5, *(at + 0.5 for at in places)], ["users", *names], fontsize=8.5)
    ax.set_xlim(-1.0, buckets)
    bare(ax)


def _bucket_name(bucket: int, unit: str) -> str:
    return f"{unit.capitalize()} {bucket}"
