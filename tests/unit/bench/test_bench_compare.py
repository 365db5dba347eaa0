"""A ratio stands only on equal answers."""

import pytest
from evenshard.testing.bench.compare import AnswersDifferError, Timed, check_equal, compared_s, fastest_of, median_of
from evenshard.testing.bench.figure import Figure

OURS = {"total": Timed([(1, 10), (2, 20)], 0.5), "unique": Timed([(0, 3)], 1.5)}


def test_a_ratio_above_one_says_that_we_are_faster() -> None:
    theirs = {
        "clickhouse_merged": {"total": Timed([[2, 20], [1, 10]], 1.0, "merged"), "unique": Timed([[0, 3]], 3.0)},
        "duckdb": {"total": Timed([[1, 10], [2, 20]], 0.25)},
    }
    first, second = compared_s("segmentation", 30, OURS, theirs, {"seed": 1})
    assert first == Figure(
        "segmentation", 2.0, "s", 30, "clickhouse_merged", 4.0, 2.0,
        {
            "seed": 1,
            "questions": {
                "total": {"seconds": 0.5, "peer_seconds": 1.0, "ratio": 2.0, "peer_form": "merged"},
                "unique": {"seconds": 1.5, "peer_seconds": 3.0, "ratio": 2.0, "peer_form": ""},
            },
        },
    )  # fmt: skip
    assert (second.peer, second.value, second.peer_value, second.ratio) == ("duckdb", 0.5, 0.25, 0.5)


def test_without_peers_there_is_no_ratio() -> None:
    [figure] = compared_s("segmentation", 30, OURS, {}, {})
    assert (figure.value, figure.peer, figure.peer_value, figure.ratio) == (2.0, None, None, None)


@pytest.mark.parametrize(
    "wrong",
    [[(1, 10)], [(1, 10), (2, 21)], [(1, 10), (2, 20), (2, 20)], [], [(1, "10"), (2, 20)]],
)
def test_one_peers_wrong_answer_prevents_every_ratio(wrong: list[tuple[int, int]]) -> None:
    theirs = {
        "clickhouse_merged": {"total": Timed([(1, 10), (2, 20)], 9.0), "unique": Timed([(0, 3)], 9.0)},
        "liar": {"total": Timed(wrong, 9.0)},
    }
    with pytest.raises(AnswersDifferError, match="total: evenshard and liar"):
        compared_s("segmentation", 30, OURS, theirs, {})


def test_a_difference_names_the_rows_of_each_side() -> None:
    with pytest.raises(AnswersDifferError, match=r"only here \[\[2, 20\]\], only there \[\[2, 21\]\]"):
        check_equal([(1, 10), (2, 20)], [(1, 10), (2, 21)], "totals")


def test_a_question_asked_again_must_be_answered_again() -> None:
    answers = iter([Timed([(1,)], 3.0), Timed([(1,)], 1.0), Timed([(1,)], 2.0)])
    assert median_of(lambda: next(answers), 3).seconds == 2.0
    changing = iter([Timed([(1,)], 1.0), Timed([(2,)], 1.0)])
    with pytest.raises(AnswersDifferError):
        median_of(lambda: next(changing), 2)


def test_the_fastest_form_counts_if_all_forms_answer_the_same() -> None:
    slow, fast = Timed([(1,)], 2.0, "FINAL"), Timed([(1,)], 1.0, "LIMIT 1 BY")
    assert fastest_of([slow, fast], "total") is fast
    with pytest.raises(AnswersDifferError, match="FINAL and LIMIT 1 BY"):
        fastest_of([slow, Timed([(2,)], 1.0, "LIMIT 1 BY")], "total")
