"""A segmentation as lines over time: solid as far as buckets are over, dashed from there."""

from collections.abc import Sequence
from typing import Any, Final

from evenshard.client.plots.canvas import NOT_OVER, PALETTE, QUIET, axes, legend, named, rising_from_zero
from evenshard.client.plots.days import ticks
from evenshard.client.results import SegmentationResult
from evenshard.text.cells import value_text

SERIES_MAX: Final = len(PALETTE)
DASHES: Final = (0, (3, 2))
_MARKED_MAX: Final = 31
_AXIS: Final = {"total": "events", "unique": "users", "average": "events a user"}


def draw_trend(result: SegmentationResult, ax: Any) -> Any:
    """One line a series, the first ``SERIES_MAX``; a gap where a value is undefined."""
    ax, is_ours = axes(ax, 9.0, 4.2), ax is None
    drawn = result.series[:SERIES_MAX]
    handles = []
    over = len(result.buckets) - result.incomplete
    for line, color in zip(drawn, PALETTE, strict=False):
        handles.append(lines(ax, line["values"], over, color))
    labels = [named(" / ".join(map(value_text, line["by"]))) for line in drawn] if result.by else []
    places, names = ticks(result.buckets, result.unit)
    ax.set_xticks(places, names)
    ax.set_ylabel(_AXIS.get(result.measure, result.measure), color=QUIET)
    rising_from_zero(ax, [value for line in drawn for value in line["values"] if value is not None])
    explain(ax, handles if labels else [], labels, " / ".join(map(named, result.by)), len(result.series) - len(drawn),
            has_open=result.incomplete > 0, beside=is_ours and bool(labels))  # fmt: skip
    return ax


def lines(ax: Any, values: Sequence[float | None], over: int, color: str) -> Any:
    """Draws the first ``over`` values solid, and dashed from the last of them on; returns the solid line."""
    numbers = [float("nan") if value is None else value for value in values]
    marker = "o" if len(numbers) <= _MARKED_MAX else None
    style = {"color": color, "linewidth": 1.8, "marker": marker, "markersize": 3.5}
    (solid,) = ax.plot(range(over), numbers[:over], **style)
    if over < len(numbers):
        first = max(0, over - 1)
        (dashed,) = ax.plot(range(first, len(numbers)), numbers[first:], **style, linestyle=DASHES)
        dashed.set(markerfacecolor="white", markevery=range(over - first, len(numbers) - first))
    return solid


def explain(
    ax: Any, handles: Sequence[Any], labels: Sequence[str], title: str, left_out: int, *, has_open: bool, beside: bool
) -> None:
    """The legend: what each line is, what dashes mean, and how many lines are not drawn."""
    from matplotlib.lines import Line2D

    handles, labels = list(handles), list(labels)
    if has_open:
        handles.append(Line2D([], [], color=QUIET, linewidth=1.8, linestyle=DASHES))
        labels.append(NOT_OVER)
    if left_out:
        handles.append(Line2D([], [], linestyle="none"))
        labels.append(f"… {left_out:,} more")
    if handles:
        legend(ax, handles, labels, title=title, place="beside" if beside else "inside")
