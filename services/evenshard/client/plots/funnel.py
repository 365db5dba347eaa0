"""A funnel as bars: who came to each step, above them in grey who dropped out, below them how many and how fast."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from evenshard.client.funnels import FunnelResult
from evenshard.client.plots.canvas import (
    INK,
    LIGHT,
    PALETTE,
    QUIET,
    axes,
    legend,
    named,
    rising_from_zero,
)
from evenshard.text.cells import duration, percent, printable, value_text
from evenshard.text.funnel import counted, step_name

GROUPS_MAX: Final = 8
_BAR_WIDTH: Final = 0.66
_NAME_WIDTH: Final = 18
_NAME_LINES_MAX: Final = 2
_LINE_POINTS: Final = 12.0

Step = Mapping[str, Any]


def draw_funnel(result: FunnelResult, ax: Any) -> Any:
    """Everybody's funnel, or the first ``GROUPS_MAX`` groups' bars side by side."""
    steps = result.overall["steps"]
    width_inch = min(24.0, max(6.0, 1.7 * len(steps))) + (2.0 if result.by else 0.0)
    ax, is_ours = axes(ax, width_inch, 5.0), ax is None
    what = counted(result.count)
    if result.by:
        _grouped(ax, result, is_ours)
        details = [f"{step['count']:,} {what}" for step in steps]
        tops = [max([group["steps"][at]["count"] for group in result.groups], default=0) for at in range(len(steps))]
    else:
        _everybody(ax, steps)
        details = [_details(before, step, what) for before, step in zip([None, *steps], steps, strict=False)]
        tops = [step["count"] for step in steps]
    rising_from_zero(ax, tops)
    ax.set_ylim(top=1.12 * max([*tops, 1]))
    ax.set_ylabel(what, color=QUIET)
    _name_steps(ax, steps, details)
    return ax


def _everybody(ax: Any, steps: Sequence[Step]) -> None:
    counts = [step["count"] for step in steps]
    came = [counts[0], *counts[:-1]]
    places = range(len(steps))
    lost = [before - count for before, count in zip(came, counts, strict=True)]
    ax.bar(places, counts, _BAR_WIDTH, color=PALETTE[0], label="converted")
    ax.bar(places, lost, _BAR_WIDTH, bottom=counts, color=LIGHT, hatch="///", edgecolor="white", label="dropped")
    for place, step, top in zip(places, steps, came, strict=True):
        text = ax.annotate(percent(step["conversion_from_first"]), (place, top), (0, 4), textcoords="offset points",
                           ha="center", va="bottom", color=INK, fontweight="bold")  # fmt: skip
        text.set_in_layout(False)


def _grouped(ax: Any, result: FunnelResult, is_ours: bool) -> None:
    groups = result.groups[:GROUPS_MAX]
    width = 0.84 / max(1, len(groups))
    handles = []
    for number, (group, color) in enumerate(zip(groups, PALETTE, strict=False)):
        shift = (number - (len(groups) - 1) / 2) * width
        places = [at + shift for at in range(len(group["steps"]))]
        handles.append(ax.bar(places, [step["count"] for step in group["steps"]], width * 0.92, color=color))
        for place, step in zip(places, group["steps"], strict=True):
            share = step["conversion_from_first"]
            ax.annotate("" if share is None else f"{share * 100:.0f}%", (place, step["count"]), (0, 2),
                        textcoords="offset points", ha="center", va="bottom", color=QUIET, fontsize=7)  # fmt: skip
    labels = [named(" / ".join(map(value_text, group["by"]))) for group in groups]
    if len(groups) < len(result.groups):
        from matplotlib.patches import Patch

        handles.append(Patch(alpha=0))
        labels.append(f"… {len(result.groups) - len(groups):,} more")
    if handles:
        legend(ax, handles, labels, title=" / ".join(map(named, result.by)), place="beside" if is_ours else "inside")


def _details(before: Step | None, step: Step, what: str) -> str:
    """How many, which part of the step before, how many of it are gone, and how long it took on average."""
    lines = [f"{step['count']:,} {what}"]
    if before is not None:
        lines.append(f"{percent(step['conversion_from_previous']) or '–'} of previous")
        lines.append(f"{before['count'] - step['count']:,} dropped")
        took = duration(step["avg_seconds_from_previous"])
        lines.append(f"avg {took}" if took else "")
    return "\n".join(lines)


def _name_steps(ax: Any, steps: Sequence[Step], details: Sequence[str]) -> None:
    names = [_wrapped(f"{step['step']}  {printable(step_name(step))}") for step in steps]
    ax.set_xticks(range(len(steps)), names, fontweight="bold", fontsize=9, parse_math=False)
    below = -8 - _LINE_POINTS * max(name.count("\n") + 1 for name in names)
    for place, text in enumerate(details):
        ax.annotate(text, (place, 0), (0, below), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
                    ha="center", va="top", color=QUIET, fontsize=8.5, linespacing=1.35)  # fmt: skip
    ax.set_xlim(-0.6, len(steps) - 0.4)


def _wrapped(name: str) -> str:
    lines = textwrap.wrap(name, _NAME_WIDTH) or [""]
    if len(lines) > _NAME_LINES_MAX:
        lines = [*lines[: _NAME_LINES_MAX - 1], lines[_NAME_LINES_MAX - 1][: _NAME_WIDTH - 1] + "…"]
    return "\n".join(lines)
