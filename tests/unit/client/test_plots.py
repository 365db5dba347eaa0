"""Charts, by what they consist of: every bar, line, cell and band is as large as the number it stands for."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evenshard.client import FlowsResult, RetentionResult
from evenshard.client.plots.days import TICKS_MAX, ticks
from evenshard.client.plots.events import BUCKETS_MAX, draw_events
from evenshard.client.plots.sankey import LABEL_HEIGHT, lay_out
from evenshard.testing import answers
from evenshard.text.cells import printable

matplotlib = pytest.importorskip("matplotlib", reason="SKIPPED: NO MATPLOTLIB (pip install evenshard[plot])")
matplotlib.use("agg")
pyplot = pytest.importorskip("matplotlib.pyplot")

pytestmark = pytest.mark.filterwarnings("error")

NAME = printable(answers.EVIL)[:31] + "…"


@pytest.fixture(autouse=True)
def no_figure_is_left() -> Any:
    yield
    pyplot.close("all")


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def drawn(ax: Any) -> bytes:
    """The pixels: it can be drawn, and twice the same."""
    ax.figure.canvas.draw()
    return bytes(ax.figure.canvas.buffer_rgba())


def test_a_trend_is_solid_as_far_as_buckets_are_over_and_dashed_from_there() -> None:
    ax = answers.segmentation().plot()
    solid, dashed = ax.get_lines()
    assert (list(solid.get_xdata()), list(solid.get_ydata()), solid.get_linestyle()) == ([0, 1], [4, 8], "-")
    assert (list(dashed.get_xdata()), list(dashed.get_ydata()), dashed.get_linestyle()) == ([1, 2], [8, 2], "--")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["not over yet"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["Jan 1\n2026", "Jan 2", "Jan 3"]
    assert (ax.get_ylabel(), ax.get_ylim()[0]) == ("events", 0)
    assert drawn(ax) == drawn(answers.segmentation().plot())


def test_a_trend_that_is_over_has_no_dashes_and_needs_no_legend() -> None:
    ax = answers.segmentation(incomplete=0).plot()
    assert [list(line.get_ydata()) for line in ax.get_lines()] == [[4, 8, 2]]
    assert ax.get_legend() is None
    all_open = answers.segmentation(incomplete=3).plot()
    assert [list(line.get_ydata()) for line in all_open.get_lines()] == [[], [4, 8, 2]]


def test_a_trend_has_a_line_a_series_with_names_as_they_are() -> None:
    ax = answers.segmentation_by().plot()
    legend = ax.get_legend()
    assert legend.get_title().get_text() == "<city>"
    assert [text.get_text() for text in legend.get_texts()] == [NAME, "(not set)", "東京", "_x", "not over yet"]
    assert not any(text.get_parse_math() for text in legend.get_texts())
    undefined = ax.get_lines()[2].get_ydata()
    assert np.isnan(undefined[0])
    assert undefined[1] == 3.5
    with pytest.warns(UserWarning, match="Glyph"):  # the font that matplotlib brings has no ideographs
        drawn(ax)


def test_of_many_series_the_first_are_drawn_and_the_rest_is_counted() -> None:
    series = [{"by": [at], "values": [at] * 3, "overall": at} for at in range(60)]
    ax = answers.segmentation(series=series, by=("n",), incomplete=0).plot()
    assert len(ax.get_lines()) == 12
    assert ax.get_legend().get_texts()[-1].get_text() == "… 48 more"


def test_a_funnels_bars_are_as_high_as_their_counts_with_who_dropped_out_above() -> None:
    ax = answers.funnel().plot()
    reached, dropped = ax.containers
    assert [bar.get_height() for bar in reached] == [8, 4, 1]
    assert [(bar.get_y(), bar.get_height()) for bar in dropped] == [(8, 0), (4, 4), (1, 3)]
    assert texts(ax) == [
        "100.0 %", "50.0 %", "12.5 %",
        "8 users",
        "4 users\n50.0 % of previous\n4 dropped\navg 1.5 min",
        "1 users\n25.0 % of previous\n3 dropped\navg 1.5 min",
    ]  # fmt: skip
    assert ax.get_xticklabels()[0].get_text() == "1  view"
    assert not any(label.get_parse_math() for label in ax.get_xticklabels())
    assert ax.get_xticklabels()[1].get_text().replace("\n", "").startswith("2  <script>")
    assert drawn(ax) == drawn(answers.funnel().plot())


def test_a_funnel_of_nobody_is_drawn_too() -> None:
    ax = answers.funnel([0, 0, 0]).plot()
    assert [bar.get_height() for bar in ax.containers[0]] == [0, 0, 0]
    assert texts(ax)[-1] == "0 users\n– of previous\n0 dropped\navg 1.5 min"
    drawn(ax)


def test_a_funnels_groups_stand_side_by_side() -> None:
    ax = answers.funnel_by().plot()
    first, second = ax.containers
    assert ([bar.get_height() for bar in first], [bar.get_height() for bar in second]) == ([5, 3, 1], [3, 1, 0])
    assert all(one.get_x() + one.get_width() <= other.get_x() for one, other in zip(first, second, strict=True))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [NAME, "(not set)"]
    drawn(ax)


def test_a_triangle_leaves_out_what_has_not_begun_and_hatches_what_is_not_over() -> None:
    ax = answers.retention().plot()
    cells, average, hatched = ax.collections
    assert cells.get_array().filled(-1).tolist() == [[1, 0.5, 0.25], [1, 0.5, 0.25], [-1, -1, -1], [0.5, -1, -1]]
    assert average.get_array().filled(-1).tolist() == [[1, 0.5, -1]]
    assert cells.get_array().mask.tolist() == [[False] * 3, [False] * 3, [True] * 3, [False, True, True]]
    assert [path.vertices[0].tolist() for path in hatched.get_paths()] == [[2, 1], [0, 3]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["users", "Week 0", "Week 1", "Week 2"]
    assert [label.get_text() for label in ax.get_yticklabels()][-2:] == ["2026-01-04", "average"]
    assert texts(ax)[-5:] == ["8", "4", "0", "2", "14"]
    assert "50.0%" in texts(ax)
    assert cells.norm.vmax == 0.5  # bucket 0 is not what colours are for
    assert drawn(ax) == drawn(answers.retention().plot())


def test_a_large_triangle_is_drawn_without_numbers() -> None:
    size = 120
    days = range(size)
    cohorts = [
        {"start": f"c{at}", "size": 10, "returned": [5] * size, "incomplete": [at + day > size for day in days]}
        for at in days
    ]
    ax = RetentionResult(cohorts, [0.5] * size, [], answers.META).plot()
    assert ax.collections[0].get_array().shape == (size, size)
    assert len(ax.texts) <= 64
    assert max(ax.figure.get_size_inches()) <= 20


def test_curves_end_where_no_bucket_is_over() -> None:
    ax = answers.retention_by().plot()
    for line in ax.get_lines():
        assert list(line.get_ydata())[:2] == [1.0, 0.5]
        assert np.isnan(line.get_ydata()[2])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [NAME, "(not set)"]
    whole = answers.retention_by().plot(kind="triangle")
    assert len(whole.collections) == 3
    assert len(answers.retention().plot(kind="curves").get_lines()) == 1
    with pytest.raises(ValueError, match="triangle or curves, not 'pie'"):
        answers.retention().plot(kind="pie")  # type: ignore[arg-type]


def test_bands_are_as_high_as_their_users_are_many() -> None:
    laid = lay_out(10, answers.flows().nodes, answers.flows().edges)
    boxes = {(box.step, box.name): box for box in laid.boxes}
    for band in laid.bands:
        source, target = boxes[band.step - 1, band.source], boxes[band.step, band.target]
        assert band.height == pytest.approx(band.count / 10)
        for top, box in ((band.source_top, source), (band.target_top, target)):
            assert box.top - 1e-9 <= top
            assert top + band.height <= box.top + box.height + 1e-9
    assert [(box.height, box.dropoff) for box in laid.boxes] == [(1.0, 0.3), (0.5, 0.1), (0.2, 0.0), (0.6, 0.0)]
    anchor = [band for band in laid.bands if band.step == 1]
    assert anchor[0].source_top + anchor[0].height == pytest.approx(anchor[1].source_top)


def test_names_of_small_events_do_not_lie_on_each_other() -> None:
    nodes = [{"step": 0, "name": "a", "count": 1000, "dropoff": 990}]
    nodes += [{"step": 1, "name": f"e{at}", "count": 1, "dropoff": 1} for at in range(10)]
    tops = [box.top for box in lay_out(1000, nodes, []).boxes if box.step]
    assert min(after - before for before, after in pairwise(tops)) >= LABEL_HEIGHT


def test_flows_show_every_event_and_backward_runs_to_the_anchor() -> None:
    ax = answers.flows().plot()
    assert texts(ax)[0] == "view\n10  (100.0 %)"
    assert texts(ax)[1] == f"{NAME}\n5  (50.0 %)"
    assert len(ax.patches) == 4 + 4 + 2  # bands, events, ends
    assert [label.get_text() for label in ax.get_xticklabels()] == ["anchor", "+1", "+2"]
    back = answers.flows("backward").plot()
    assert [label.get_text() for label in back.get_xticklabels()] == ["anchor", "−1", "−2"]
    assert back.get_xticks().tolist() == [0, -1, -2]
    assert back.get_legend().get_texts()[0].get_text() == "nothing before"
    grey = [patch for patch in ax.patches if matplotlib.colors.to_hex(patch.get_facecolor()) == "#9aa0a6"]
    assert len(grey) == 2  # "$other", and the band to it
    assert drawn(ax) == drawn(answers.flows().plot())
    drawn(FlowsResult(0, [{"step": 0, "name": "a", "count": 0, "dropoff": 0}], [], answers.META).plot())


@pytest.mark.parametrize(
    "kind", ["segmentation", "segmentation_by", "funnel", "funnel_by", "retention", "retention_by", "flows"]
)
def test_a_chart_is_drawn_where_one_is_asked_to(kind: str) -> None:
    before = pyplot.get_fignums()
    ax = pyplot.Figure().subplots()
    assert answers.every_kind()[kind].plot(ax) is ax  # type: ignore[attr-defined]
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize(
    ("labels", "unit", "places", "names"),
    [
        (["2025-12-31", "2026-01-01"], "day", [0, 1], ["Dec 31\n2025", "Jan 1\n2026"]),
        (["2025-12-01", "2026-01-01", "2026-02-01"], "month", [0, 1, 2], ["Dec\n2025", "Jan\n2026", "Feb"]),
        (["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"], "hour", [0, 1], ["02:00\nOct 25", "02:00"]),
        ([], "day", [], []),
    ],
)
def test_ticks_name_the_year_or_the_day_where_it_changes(
    labels: list[str], unit: str, places: list[int], names: list[str]
) -> None:
    assert ticks(labels, unit) == (places, names)


def test_many_buckets_have_few_ticks() -> None:
    for count in range(1, 200):
        places, _ = ticks(["2026-01-01"] * count, "day")
        assert places[0] == 0
        assert len(places) <= TICKS_MAX


def test_exported_events_are_stacked_by_name_over_time() -> None:
    hour_ms = 3_600_000
    names = [f"e{at:02}" for at in range(12) for _ in range(12 - at)]
    times = [1_767_225_600_000 + at * hour_ms for at in range(len(names))]
    ax = draw_events(pa.table({"event": names, "time": times}), None)
    heights = np.array([[bar.get_height() for bar in bars] for bars in ax.containers])
    assert heights.sum(axis=1).tolist() == [12, 11, 10, 9, 8, 7, 6, 5, 10]
    assert heights.sum() == len(names)
    bottoms = np.array([[bar.get_y() for bar in bars] for bars in ax.containers])
    assert (bottoms == np.cumsum(heights, axis=0) - heights).all()
    assert heights.shape[1] <= BUCKETS_MAX
    assert [text.get_text() for text in ax.get_legend().get_texts()][-2:] == ["e07", "… 4 more"]
    assert ax.get_xticklabels()[0].get_text() == "00:00\nJan 1"
    drawn(ax)


@pytest.mark.parametrize("times", [[], [0], [0, 2**41], [1, 2, 3]])
def test_any_range_of_exported_events_can_be_drawn(times: list[int]) -> None:
    table = pa.table({"event": pa.array(["a"] * len(times), pa.utf8()), "time": pa.array(times, pa.int64())})
    ax = draw_events(table, None)
    assert sum(bar.get_height() for bars in ax.containers for bar in bars) == len(times)
    drawn(ax)
