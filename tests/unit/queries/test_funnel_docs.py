"""The page on funnels names every reason and every bar there is."""

import re
from pathlib import Path

from evenshard.queries.funnel_explain import Reason
from evenshard.queries.funnel_histogram import BOUNDS_MS
from evenshard.testing.funnel_reference import BARS_S

PAGE = (Path(__file__).parents[3] / "docs" / "funnels.md").read_text()
UNITS_S = {"s": 1, "h": 3600, "days": 86_400}


def test_every_reason_is_documented() -> None:
    documented = re.findall(r"^\| `([^`]+)` \|[^|]*\|$", PAGE.split("## Why")[1], re.MULTILINE)
    assert documented == [str(reason) for reason in Reason]


def test_bars_are_those_of_the_page_and_of_the_reference() -> None:
    bounds_s = [bound / 1000 for bound in BOUNDS_MS.tolist()]
    assert bounds_s == list(BARS_S)
    text = " ".join(PAGE.split("## Time to convert")[1].split()).replace("1 to 7", "1, 2, 3, 4, 5, 6, 7")
    listed = re.findall(r"((?:[\d.]+, )+[\d.]+) (s|h|days)\b", text)
    documented = [[float(each) * UNITS_S[unit] for each in numbers.split(", ")] for numbers, unit in listed]
    assert "45 s, and the same in minutes" in text
    documented.insert(2, [seconds * 60 for seconds in documented[1]])
    assert [bound for some in documented for bound in some] == bounds_s
