"""Steps as people write them."""

import pytest
from evenshard.errors import EvenshardError
from evenshard.queries.steps import Step, parse_step
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("Commit", Step(("Commit",))),
        ("File added", Step(("File added",))),
        ("view|buy | sign up", Step(("view", "buy", "sign up"))),
        ("view|view", Step(("view",))),
        ("*", Step(())),
        ('* where dir == "a|b where c"', Step((), 'dir == "a|b where c"')),
        ("view|buy where n in [1, 2]", Step(("view", "buy"), "n in [1, 2]")),
        ("`*`", Step(("*",))),
        ("`a|b`|c", Step(("a|b", "c"))),
        ("`go where n` where n == 1", Step(("go where n",), "n == 1")),
        ("`x``y`", Step(("x`y",))),
        ("` a `", Step((" a ",))),
        ("where", Step(("where",))),
        ("somewhere else", Step(("somewhere else",))),
        ("a`b", Step(("a`b",))),
    ],
)
def test_a_step_is_names_and_a_filter(text: str, step: Step) -> None:
    assert parse_step(text) == step


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True))
def test_any_names_can_be_written_in_backticks(names: list[str]) -> None:
    quoted = ["`" + name.replace("`", "``") + "`" for name in names]
    assert parse_step("|".join(quoted)) == Step(tuple(names))
    assert parse_step(" | ".join(quoted) + " where a == 1") == Step(tuple(names), "a == 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "step, character 1: the name of an event is expected, or *"),
        ("|a", "step, character 1: the name of an event is expected, or *"),
        ("a||b", "step, character 3: the name of an event is expected, or *"),
        (" where a == 1", "step, character 1: the name of an event is expected, or *"),
        ("*|a", "step, character 1: * is any event and stands alone"),
        ("a|*", "step, character 3: * is any event and stands alone"),
        ("`a", "step, character 1: this name does not end"),
        ("a|`b`c", "step, character 3: this name does not end, or goes on behind its backtick"),
        ("a where", "step, character 8: an expression is expected after where"),
        ("a where ", "step, character 9: an expression is expected after where"),
        ("a where b = 1", 'step.where, character 3: "==" is expected, not "="'),
        ("a where b like 1", 'step.where, character 3: "contains" is expected, not "like"'),
    ],
)
def test_an_error_points_at_the_character(text: str, message: str) -> None:
    with pytest.raises(EvenshardError) as failed:
        parse_step(text)
    assert failed.value.code == "QUERY_INVALID"
    assert failed.value.message.startswith(message), failed.value.message
    shown, caret = failed.value.hint.split("\n")
    assert caret == " " * (len(caret) - 1) + "^"
    assert len(caret) <= len(shown) + 1


def test_steps_have_names_for_people() -> None:
    assert [parse_step(text).name for text in ("a|b where x == 1", "*", "`*`")] == ["a|b", "*", "*"]
