"""Numbers as lengths and heights, for people."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

BAR_WIDTH: Final = 30
SPARKLINE_WIDTH_MAX: Final = 60
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_HEIGHTS: Final = "▁▂▃▄▅▆▇█"


def bar(share: float | None) -> str:
    """A bar for a share of 1, of eighths of a character."""
    eighths = round(max(share or 0, 0) * BAR_WIDTH * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def sparkline(values: Sequence[float | None]) -> str:
    """A character for each value, as high as it is beside the largest; nothing for 0. More than
    ``SPARKLINE_WIDTH_MAX`` are put together, neighbours in one character."""
    numbers = [value or 0 for value in values]
    width = min(len(numbers), SPARKLINE_WIDTH_MAX)
    cuts = [at * len(numbers) // width for at in range(width + 1)] if width else []
    means = [sum(numbers[first:end]) / (end - first) for first, end in pairwise(cuts)]
    largest = max(means, default=0)
    return "".join(_HEIGHTS[min(7, int(mean / largest * 8))] if mean > 0 else " " for mean in means)


def percent(share: float | None) -> str:
    """A share of 1."""
    return "" if share is None else f"{share * 100:.1f} %"
