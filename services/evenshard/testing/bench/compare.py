"""No ratio is made before both answers were found equal.

An answer is a list of rows of plain values; their order does not count.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evenshard.testing.bench.figure import Figure

Answer = Sequence[Sequence[Any]]

SHOWN: Final = 5
"""Rows of a difference that an error quotes."""
_DIGITS: Final = 6


class AnswersDifferError(Exception):
    """Two systems, or two runs of one, answered differently: what they measured means nothing."""


@dataclass(frozen=True, slots=True)
class Timed:
    """An answer and how long it took."""

    answer: Answer
    seconds: float
    form: str = ""
    """Which of several ways of asking it was."""


def median_of(ask: Callable[[], Timed], rounds: int) -> Timed:
    """Asks ``rounds`` times. Raises ``AnswersDifferError`` unless all answers are the same."""
    asked = [ask() for _ in range(rounds)]
    for other in asked[1:]:
        check_equal(asked[0].answer, other.answer, "a question asked again")
    return Timed(asked[0].answer, statistics.median(each.seconds for each in asked), asked[0].form)


def fastest_of(forms: Sequence[Timed], what: str) -> Timed:
    """The fastest of several ways of asking the same. Raises ``AnswersDifferError`` unless all answer the same."""
    for other in forms[1:]:
        check_equal(forms[0].answer, other.answer, f"{what}: {forms[0].form} and {other.form}")
    return min(forms, key=lambda each: each.seconds)


def check_equal(ours: Answer, theirs: Answer, what: str) -> None:
    """Raises ``AnswersDifferError`` naming rows that only one side has."""
    left, right = _rows(ours), _rows(theirs)
    if left == right:
        return
    only_left = [row for row in left if row not in right][:SHOWN]
    only_right = [row for row in right if row not in left][:SHOWN]
    raise AnswersDifferError(
        f"{what}: {len(left)} and {len(right)} rows; only here {only_left}, only there {only_right}"
    )


def compared_s(
    name: str,
    events: int,
    ours: Mapping[str, Timed],
    theirs: Mapping[str, Mapping[str, Timed]],
    detail: Mapping[str, Any],
) -> list[Figure]:
    """A figure a peer: the seconds of all questions together; each question's in the detail. Without peers: one.

    ``ours``: by question; ``theirs``: by peer and question, of which a peer may lack some. Every answer of every peer
    is compared first, and any difference raises ``AnswersDifferError``.
    """
    for peer, answers in theirs.items():
        for question, timed in answers.items():
            check_equal(ours[question].answer, timed.answer, f"{question}: evenshard and {peer}")
    if not theirs:
        each = {question: {"seconds": _short(timed.seconds)} for question, timed in ours.items()}
        total_s = sum(timed.seconds for timed in ours.values())
        return [Figure(name, _short(total_s), "s", events, detail={**detail, "questions": each})]
    return [_figure_s(name, events, ours, peer, answers, detail) for peer, answers in theirs.items()]


def _figure_s(
    name: str,
    events: int,
    ours: Mapping[str, Timed],
    peer: str,
    theirs: Mapping[str, Timed],
    detail: Mapping[str, Any],
) -> Figure:
    each = {
        question: {
            "seconds": _short(ours[question].seconds),
            "peer_seconds": _short(timed.seconds),
            "ratio": ratio(timed.seconds, ours[question].seconds),
            "peer_form": timed.form,
        }
        for question, timed in theirs.items()
    }
    our_s = sum(ours[question].seconds for question in theirs)
    their_s = sum(timed.seconds for timed in theirs.values())
    return Figure(
        name, _short(our_s), "s", events, peer, _short(their_s), ratio(their_s, our_s), {**detail, "questions": each}
    )


def ratio(better_if_larger: float, other: float) -> float:
    """Their seconds (or bytes) over ours; our rate over theirs."""
    return round(better_if_larger / other, 3)


def _short(value: float) -> float:
    return round(value, _DIGITS)


def _rows(answer: Answer) -> list[list[Any]]:
    return sorted([list(row) for row in answer], key=repr)
