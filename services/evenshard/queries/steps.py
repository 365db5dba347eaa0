"""Steps as people write them: ``NAME``, ``NAME|NAME`` or ``*``, each perhaps followed by `` where EXPR``.

A name is taken as it stands up to ``|`` or `` where ``, spaces within included; one that holds either, is ``*`` or
begins or ends with a space stands in backticks (a backtick is doubled).
"""

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.expression import parse

ANY_EVENT: Final = "*"
_QUOTED: Final = re.compile(r"\s*`((?:[^`]|``)+)`\s*(?=\||where\s|where$|$)")
_PLAIN: Final = re.compile(r"(?:(?!\|| where(?: |$)).)*", re.DOTALL)
_SPAN: Final = re.compile(r"\s*(\d{1,4})\s*-\s*(\d{1,4})\s*", re.ASCII)
_WHERE: Final = re.compile(r"\s*where(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Step:
    """An event matches that is any of ``events`` (none: any event) and for which ``where`` (empty: always) is true."""

    events: tuple[str, ...]
    where: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return "|".join(self.events) or ANY_EVENT


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An event like this, and no step of an attempt, must not lie between two of its steps, numbered from 1."""

    step: Step
    after_step: int
    before_step: int


def parse_exclusion(text: str, field: str = "exclude") -> Exclusion:
    """The exclusion of ``STEP@1-2``: the step, and the steps between which it must not lie. Raises ``QUERY_INVALID``
    naming ``field``."""
    step, at, span = text.rpartition("@")
    found = _SPAN.fullmatch(span)
    if not at or found is None:
        problem = f"{text!r} does not end in the steps between which it excludes"
        raise EvenshardError(
            "QUERY_INVALID", f"{field}: {problem}", hint="write NAME@1-2", fields=(FieldFault(field, problem),)
        )
    return Exclusion(parse_step(step, field), int(found[1]), int(found[2]))


def parse_step(text: str, field: str = "step") -> Step:
    """The step of ``text``. Raises ``QUERY_INVALID`` naming ``field``; its hint shows the place."""
    names: list[str | None] = []
    at = 0
    while True:
        first = at
        quoted = _QUOTED.match(text, at)
        if quoted:
            name: str | None = quoted[1].replace("``", "`")
            at = quoted.end()
        else:
            plain = _PLAIN.match(text, at)
            raw = plain[0] if plain else ""
            at += len(raw)
            name = None if raw.strip() == ANY_EVENT else raw.strip()
            if name is not None and name.startswith("`"):
                _fail(text, first + raw.index("`"), "this name does not end, or goes on behind its backtick", field)
        if name == "":
            _fail(text, first, "the name of an event is expected, or *", field)
        names.append(name)
        if not text.startswith("|", at):
            break
        at += 1
    if None in names and len(names) > 1:
        _fail(text, text.index(ANY_EVENT), "* is any event and stands alone", field)
    where = ""
    if at < len(text):
        word = _WHERE.match(text, at)
        at = word.end() if word else at
        where = text[at:]
        if not where.strip():
            _fail(text, len(text), "an expression is expected after where", field)
        parse(where, f"{field}.where")
    return Step(tuple(dict.fromkeys(name for name in names if name is not None)), where.strip())


def _fail(text: str, at: int, problem: str, field: str) -> NoReturn:
    first = max(0, at - 40)
    shown = re.sub(r"\s", " ", text[first : at + 40])
    raise EvenshardError(
        "QUERY_INVALID",
        f"{field}, character {at + 1}: {problem}",
        hint=f"{shown}\n{' ' * (at - first)}^",
        fields=(FieldFault(field, problem),),
    )
