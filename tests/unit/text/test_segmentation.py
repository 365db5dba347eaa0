"""Answers to segmentations as people read them."""

from typing import Any

from evenshard.text.account import account
from evenshard.text.bars import BAR_WIDTH, SPARKLINE_WIDTH_MAX, bar, sparkline
from evenshard.text.paint import paint
from evenshard.text.segmentation import segmentation_blocks

DAYS = ["2026-01-01", "2026-01-02", "2026-01-03"]
META = {
    "complete": True, "missing_shards": [], "rows_scanned": 1_234, "shards": 2, "elapsed_ms": 1.5,
    "duplicates_skipped": {"log": 1, "segment": 2}, "trace_id": "f" * 32, "warnings": [],
}  # fmt: skip


def lines(series: list[dict[str, Any]], by: list[str], buckets: list[str] = DAYS, measure: str = "total") -> list[str]:
    blocks = segmentation_blocks({"buckets": buckets, "series": series}, by, measure)
    *table, last = paint([*blocks, *account(META)]).splitlines()
    assert last == f"1,234 rows of 2 shards in 1.5 ms, 3 duplicates skipped; trace {'f' * 32}"
    return table


def test_bars_are_as_long_as_their_share() -> None:
    assert [bar(share) for share in (0, None, 1, 0.5, 1 / (BAR_WIDTH * 8))] == [
        "", "", "█" * BAR_WIDTH, "█" * (BAR_WIDTH // 2), "▏",
    ]  # fmt: skip


def test_sparklines_are_as_high_as_beside_the_largest() -> None:
    assert [sparkline(values) for values in ([], [0, 0], [0, 1, 4, 8], [None, 3], [1])] == ["", "  ", " ▂▅█", " █", "█"]
    many = sparkline([at % 2 for at in range(2 * SPARKLINE_WIDTH_MAX)])
    assert many == "█" * SPARKLINE_WIDTH_MAX
    assert len(sparkline(range(SPARKLINE_WIDTH_MAX + 1))) == SPARKLINE_WIDTH_MAX


def test_one_series_is_a_bar_and_a_change_a_bucket() -> None:
    assert lines([{"by": [], "values": [1000, 500, 0], "overall": 1500}], []) == [
        f"            count  {' ' * BAR_WIDTH}    change",
        f"2026-01-01  1,000  {'█' * BAR_WIDTH}",
        f"2026-01-02    500  {'█' * (BAR_WIDTH // 2):{BAR_WIDTH}}   -50.0 %",
        "2026-01-03      0".ljust(17 + 2 + BAR_WIDTH + 2) + "-100.0 %",
        "overall     1,500",
        "",
    ]


def test_buckets_that_are_not_over_are_marked_and_not_compared() -> None:
    series = {"by": [], "values": [4, 2, 1], "overall": 7}
    blocks = segmentation_blocks({"buckets": DAYS, "series": [series]}, [], incomplete=1)
    found = [line.split() for line in paint(blocks).splitlines()]
    assert [line[0] for line in found if line[-1] == "%"] == ["2026-01-02"]
    assert found[3][:3] == ["2026-01-03", "+", "1"]
    assert found[-1] == ["+", "not", "over", "yet"]


def test_several_series_are_a_share_a_bar_and_a_sparkline_each() -> None:
    series = [
        {"by": ["de"], "values": [1, 2, 3], "overall": 6},
        {"by": [None], "values": [2, 0, 0], "overall": 2},
    ]
    found = lines(series, ["country"])
    assert found == [
        f"country    overall  of all  {' ' * BAR_WIDTH}  2026-01-01 to 2026-01-03",
        f"de               6  75.0 %  {'█' * BAR_WIDTH}  ▃▆█",
        f"(not set)        2  25.0 %  {bar(1 / 3):{BAR_WIDTH}}  █",
        "",
        "            de  (not set)",
        "2026-01-01   1          2",
        "2026-01-02   2          0",
        "2026-01-03   3          0",
        "overall      6          2",
        "",
    ]


def test_shares_of_users_are_not_told() -> None:
    found = lines([{"by": ["de"], "values": [1, 1, 1], "overall": 1}], ["country"], measure="unique")
    assert ("of all" in found[0], "%" in found[1]) == (False, False)


def test_many_series_are_only_a_line_each_and_none_is_no_error() -> None:
    many = [{"by": [at], "values": [at, 0, 0], "overall": at} for at in range(9)]
    assert len(lines(many, ["n"])) == 1 + 9 + 1
    assert lines([], ["n"], [])[0].split() == ["n", "overall", "of", "all"]


def test_what_is_undefined_is_a_dash_and_what_is_negative_has_no_bar() -> None:
    found = lines([{"by": [], "values": [1234.5, None, -2.25], "overall": 3}], [], measure="avg")
    assert [line.rstrip() for line in found] == [
        f"                 avg  {' ' * BAR_WIDTH}  change",
        f"2026-01-01  1,234.50  {'█' * BAR_WIDTH}",
        "2026-01-02         –",
        "2026-01-03     -2.25",
        "overall            3",
        "",
    ]
