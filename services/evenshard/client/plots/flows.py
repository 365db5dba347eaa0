"""Flows as bands: a column a step, an event as high as its users are many, a band where they went."""

from typing import Any, Final

from evenshard.client.flows import FlowsResult
from evenshard.client.plots.canvas import GREY, INK, LIGHT, PALETTE, QUIET, axes, bare, legend, named, size_inch
from evenshard.client.plots.sankey import OTHER, Band, Box, Sankey, lay_out
from evenshard.text.cells import percent

_BOX_WIDTH: Final = 0.045
_STUB_WIDTH: Final = 0.09
"""Of what stands for users whose path ends."""
_LABEL_GAP: Final = 0.012
_TWO_LINES_INCH, _ONE_LINE_INCH = 0.26, 0.13
"""How high an event's place must be for its name above its number, and for both in a line."""


def draw_flows(result: FlowsResult, ax: Any) -> Any:
    """An event has one colour at all steps, the rest is grey. Backward, time runs to the anchor, which is rightmost."""
    steps = max((node["step"] for node in result.nodes), default=0)
    laid = lay_out(result.anchors, result.nodes, result.edges)
    ax = axes(ax, min(22.0, 3.0 + 3.0 * steps), min(14.0, max(3.0, 5.2 * laid.bottom)))
    colors = _colors(result)
    side = -1 if result.direction == "backward" else 1
    for band in laid.bands:
        ax.add_patch(_curve(band, side, colors[band.target if side > 0 else band.source]))
    inch = size_inch(ax)[1] / laid.bottom
    for box in laid.boxes:
        _draw_box(ax, box, side, colors[box.name])
        _name_box(ax, box, side, result.anchors, box.place * inch)
    _frame(ax, laid, steps, side)
    if any(box.dropoff for box in laid.boxes):
        _explain_stubs(ax, side)
    return ax


def _colors(result: FlowsResult) -> dict[str, str]:
    colors = {OTHER: GREY}
    for node in result.nodes:
        if node["name"] not in colors:
            colors[node["name"]] = PALETTE[(len(colors) - 1) % len(PALETTE)]
    return colors


def _draw_box(ax: Any, box: Box, side: int, color: str) -> None:
    from matplotlib.patches import Rectangle

    left = side * box.step - _BOX_WIDTH / 2
    if box.dropoff:
        # Beside the event, where bands would leave it.
        stub = left + _BOX_WIDTH if side > 0 else left - _STUB_WIDTH
        top = box.top + box.height - box.dropoff
        ax.add_patch(Rectangle((stub, top), _STUB_WIDTH, box.dropoff, facecolor=LIGHT, hatch="////", edgecolor="white"))
    ax.add_patch(Rectangle((left, box.top), _BOX_WIDTH, box.height, facecolor=color, edgecolor="none"))


def _name_box(ax: Any, box: Box, side: int, anchors: int, place_inch: float) -> None:
    if place_inch < _ONE_LINE_INCH:
        return
    share = percent(box.count / anchors) if anchors else ""
    left, between = side * box.step - _BOX_WIDTH / 2, "\n" if place_inch >= _TWO_LINES_INCH else "  "
    text = ax.annotate(
        f"{named(box.name)}{between}{box.count:,}  ({share})",
        (left + _BOX_WIDTH + _LABEL_GAP, box.top + min(box.height, 0.05) / 2),
        va="center", ha="left", color=INK, fontsize=8, linespacing=1.15, parse_math=False,
    )  # fmt: skip
    text.set_path_effects(_halo())


def _explain_stubs(ax: Any, side: int) -> None:
    from matplotlib.patches import Patch

    key = Patch(facecolor=LIGHT, hatch="////", edgecolor="white")
    legend(ax, [key], ["nothing after" if side > 0 else "nothing before"], place="below")


def _halo() -> list[Any]:
    """What lets a text be read on a band."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground=(1, 1, 1, 0.85))]


def _curve(band: Band, side: int, color: str) -> Any:
    """From the side of one event to the side of the next, level at both ends."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    start = side * (band.step - 1 + _BOX_WIDTH / 2)
    end = side * (band.step - _BOX_WIDTH / 2)
    middle = (start + end) / 2
    upper, lower = (band.source_top, band.target_top), (band.source_top + band.height, band.target_top + band.height)
    corners = [
        (start, upper[0]), (middle, upper[0]), (middle, upper[1]), (end, upper[1]),
        (end, lower[1]), (middle, lower[1]), (middle, lower[0]), (start, lower[0]), (start, upper[0]),
    ]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    return PathPatch(Path(corners, codes), facecolor=color, alpha=0.35, edgecolor="none")


def _frame(ax: Any, laid: Sankey, steps: int, side: int) -> None:
    bare(ax)
    ax.set_yticks([])
    ax.xaxis.tick_top()
    names = ["anchor", *(f"{'+' if side > 0 else '−'}{step}" for step in range(1, steps + 1))]
    ax.set_xticks([side * step for step in range(steps + 1)], names, color=QUIET)
    first, last = sorted((0, side * steps))
    ax.set_xlim(first - 0.1 - (_STUB_WIDTH if side < 0 else 0), last + 0.75)
    ax.set_ylim(laid.bottom, -0.02)
