"""What a segmentation measures in each cell, and what each measure needs to know of a row."""

from typing import Final, Literal, get_args

Measure = Literal["total", "unique", "average", "sum", "min", "max", "avg", "p50", "p90", "p99"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)
OF_EVENTS: Final = frozenset[str](("total", "unique", "average"))
"""The others are of the numbers of a property; what is no number there does not count."""
OF_USERS: Final = frozenset[str](("unique", "average"))
"""Those that need distinct users. ``average`` is events of users ÷ users: anonymous events count in neither."""
QUANTILES: Final[dict[str, tuple[int, int]]] = {"p50": (1, 2), "p90": (9, 10), "p99": (99, 100)}
"""As fractions."""
FOLD_AT_THE_GATEWAY: Final = frozenset[str](("total", "sum", "min", "max", "avg"))
"""A few numbers tell all of a group there is to tell, so shards send every group's and need not know which to keep."""
