"""Numbers as lengths, heights and shades."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

BAR_WIDTH: Final = 30
SPARKLINE_WIDTH_MAX: Final = 60
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_HEIGHTS: Final = "▁▂▃▄▅▆▇█"
_SHADES: Final = " ░▒▓█"


def bar(share: float | None, width: int = BAR_WIDTH, begins: float = 0.0) -> str:
    """A bar for a share of 1, of eighths of a character; what is more than nothing is seen. ``begins``: a share of the
    width that is left free before it."""
    if begins:
        before = min(int(begins * width), width - 1)
        room = width - before
        return " " * before + bar(min(1.0, (share or 0) * width / room) if share is not None else None, room)
    eighths = round(min(max(share or 0, 0), 1) * width * 8)
    eighths = max(eighths, 1 if share and share > 0 else 0)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def sparkline(values: Sequence[float | None], width_max: int = SPARKLINE_WIDTH_MAX) -> str:
    """A character for each value, as high as it is beside the largest; nothing for 0. More than ``width_max`` are put
    together, neighbours in one character."""
    numbers = [value or 0 for value in values]
    width = min(len(numbers), width_max)
    cuts = [at * len(numbers) // width for at in range(width + 1)] if width else []
    means = [sum(numbers[first:end]) / (end - first) for first, end in pairwise(cuts)]
    largest = max(means, default=0)
    return "".join(_HEIGHTS[min(7, int(mean / largest * 8))] if mean > 0 else " " for mean in means)


def shade(share: float) -> str:
    """A character, darker for more."""
    return _SHADES[min(len(_SHADES) - 1, int(share * len(_SHADES)))]
