"""A retention for a terminal: a line a cohort, a shade a cell."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_SHADES: Final = " ░▒▓█"
_OPEN: Final = "+"
"""Behind a share that may still grow."""
COHORTS_SHOWN_MAX: Final = 60
BUCKETS_SHOWN_MAX: Final = 16


def triangle_text(cohorts: Sequence[Mapping[str, Any]], average: Sequence[float | None]) -> str:
    """Shares of each cohort by bucket, darker where more returned; the first and last where there are many."""
    buckets = min(len(average), BUCKETS_SHOWN_MAX)
    shown = list(cohorts[: COHORTS_SHOWN_MAX // 2]) + list(cohorts[-COHORTS_SHOWN_MAX // 2 :])
    shown = shown if len(cohorts) > COHORTS_SHOWN_MAX else list(cohorts)
    lines = [["", "users", *map(str, range(buckets))]]
    lines += [
        [cohort["start"], f"{cohort['size']:,}", *(_cell(cohort, at) for at in range(buckets))] for cohort in shown
    ]
    if len(shown) < len(cohorts):
        lines.insert(1 + COHORTS_SHOWN_MAX // 2, ["…"] + [""] * (buckets + 1))
    whole = f"{sum(cohort['size'] for cohort in cohorts):,}"
    lines.append(["average", whole, *(_shaded(share) for share in average[:buckets])])
    widths = [max(len(line[at]) for line in lines) for at in range(buckets + 2)]
    texts = ["  ".join([line[0].ljust(widths[0]), *_right(line[1:], widths[1:])]).rstrip() for line in lines]
    if any(_OPEN in cell for line in lines for cell in line[2:]):
        texts.append(f"{_OPEN} not over yet")
    if buckets < len(average):
        texts.append(f"{len(average) - buckets} more buckets: --json shows all")
    return "\n".join(texts)


def _cell(cohort: Mapping[str, Any], bucket: int) -> str:
    returned, is_open = cohort["returned"][bucket], cohort["incomplete"][bucket]
    if not cohort["size"] or (is_open and not returned):
        return ""
    return _shaded(returned / cohort["size"]) + (_OPEN if is_open else " ")


def _shaded(share: float | None) -> str:
    if share is None:
        return ""
    shade = _SHADES[min(len(_SHADES) - 1, int(share * len(_SHADES)))]
    return f"{shade} {share * 100:5.1f} %"


def _right(texts: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [text.rjust(width) for text, width in zip(texts, widths, strict=True)]
