"""What all charts have in common: axes, colours, texts that are shown as they are, a legend."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from evenshard.client.answer import need
from evenshard.text.cells import cut, printable

PALETTE: Final = (
    "#3b6fb6", "#e07b39", "#4a9d6f", "#b6493b", "#7d5fb2", "#c9a227", "#4aa3b8", "#b8578f", "#7a6a58", "#5a7d2a",
    "#2f4b7c", "#8c8c2e",
)  # fmt: skip
INK: Final = "#2b2f36"
QUIET: Final = "#6b7280"
GREY: Final = "#9aa0a6"
LIGHT: Final = "#e5e8ec"
LABEL_WIDTH_MAX: Final = 32
"""Characters of a name in a legend."""
NOT_OVER: Final = "not over yet"


def axes(ax: Any, width_inch: float, height_inch: float) -> Any:
    """``ax``, or those of a new figure of pyplot, which notebooks show by themselves. Raises ``ModuleNotFoundError``
    that says what to install."""
    pyplot = need("matplotlib.pyplot", "plot()", "plot")
    return pyplot.subplots(figsize=(width_inch, height_inch), layout="constrained")[1] if ax is None else ax


def size_inch(ax: Any) -> tuple[float, float]:
    """Width and height, before names beside the axes are made room for."""
    width, height = ax.figure.get_size_inches()
    place = ax.get_position()
    return float(width * place.width), float(height * place.height)


def bare(ax: Any, *, keep: Sequence[str] = ()) -> None:
    """Takes away the frame but for the sides to ``keep``, and the marks of ticks."""
    for side, spine in ax.spines.items():
        spine.set_visible(side in keep)
        spine.set_color(GREY)
    ax.tick_params(length=0, colors=INK)


def rising_from_zero(ax: Any, values: Sequence[float]) -> None:
    """Lines to read values by, from 0 where nothing is below, and numbers with thousands apart."""
    from matplotlib.ticker import FuncFormatter

    bare(ax, keep=("bottom",))
    ax.grid(axis="y", color=LIGHT, linewidth=0.8)
    ax.set_axisbelow(True)
    if min(values, default=0) >= 0:
        ax.set_ylim(bottom=0, top=1.05 * max(values, default=0) or 1)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """A number for an axis."""
    for unit, divisor, least in (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e3, 1e5)):
        if abs(value) >= least:
            return f"{value / divisor:,.4g}{unit}"
    return f"{value:,.10g}"


def named(text: str) -> str:
    """A name from events, of a bounded length."""
    return cut(printable(text), LABEL_WIDTH_MAX)


_PLACES: Final[dict[str, dict[str, Any]]] = {
    "inside": {"loc": "best"},
    "beside": {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)},
    "below": {"loc": "upper right", "bbox_to_anchor": (1.0, 0.0)},
}


def legend(
    ax: Any,
    handles: Sequence[Any],
    labels: Sequence[str],
    *,
    title: str = "",
    place: Literal["inside", "beside", "below"] = "inside",
) -> None:
    """Outside of the axes it is where a figure of ours makes room."""
    made = ax.legend(handles, list(labels), frameon=False, title=title or None, alignment="left", **_PLACES[place])
    made.get_title().set_color(QUIET)
    for text in (*made.get_texts(), made.get_title()):
        text.set_parse_math(False)
