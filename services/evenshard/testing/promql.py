"""Alert expressions evaluated on metrics that were recorded, where there is no Prometheus: at one instant, and only
what needs no past.

Known are: selectors with ``=``, ``!=``, ``=~`` and ``!~``; ``sum``, ``max``, ``min``, ``avg`` and ``count``, also
``by``; ``+ - * /``; comparisons, which filter; ``and`` and ``or``; vectors are matched on all of their labels. Whatever
else stands in an expression (ranges, functions, ``ignoring``) raises ``ValueError``: it is not taken for something
simpler.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Labels = frozenset[tuple[str, str]]
Vector = Mapping[Labels, float]

_NAME: Final = "__name__"
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<text>\"[^\"]*\")"
    r"|(?P<sign>=~|!~|==|!=|>=|<=|[-+*/(){}=,<>]))"
)
_AGGREGATES: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "sum": math.fsum,
    "max": max,
    "min": min,
    "count": len,
    "avg": lambda values: math.fsum(values) / len(values),
}
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_MATCHES: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "=~": lambda value, pattern: re.fullmatch(pattern, value) is not None,
    "!~": lambda value, pattern: re.fullmatch(pattern, value) is None,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A number that was told."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples_of(exposition: str, more: Mapping[str, str] | None = None) -> list[Sample]:
    """What a ``/metrics`` page says; ``more``: labels that whoever reads it adds."""
    from prometheus_client.parser import text_string_to_metric_families

    return [
        Sample(each.name, {**each.labels, **(more or {})}, each.value)
        for family in text_string_to_metric_families(exposition)
        for each in family.samples
    ]


def evaluate(expression: str, samples: Iterable[Sample]) -> Vector:
    """The series that are left: an alert on the expression tells for each. Raises ``ValueError`` for an expression
    beyond what is known here."""
    reading = _Reading(_tokens(expression), list(samples))
    found = reading.either()
    if reading.at != len(reading.tokens):
        raise ValueError(f"{expression!r}: {reading.tokens[reading.at]!r} is not known here")
    return found if isinstance(found, dict) else {frozenset(): found}


def _tokens(expression: str) -> list[str]:
    found, at, text = [], 0, expression.rstrip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"{expression!r}: {text[at:]!r} is not known here")
        found.append(token.group().strip())
        at = token.end()
    return found


class _Reading:
    """Reads and evaluates in one go; each method is one level of precedence."""

    def __init__(self, tokens: Sequence[str], samples: Sequence[Sample]) -> None:
        self.tokens = tokens
        self.at = 0
        self._samples = samples

    def either(self) -> Any:
        left = self.both()
        while self._takes("or"):
            right = self.both()
            left = {**right, **left}
        return left

    def both(self) -> Any:
        left = self.compared()
        while self._takes("and"):
            right = self.compared()
            left = {labels: value for labels, value in left.items() if labels in right}
        return left

    def compared(self) -> Any:
        left = self.added()
        sign = self._one_of(_COMPARISONS)
        if sign is None:
            return left
        right, holds = self.added(), _COMPARISONS[sign]
        if not isinstance(left, dict):
            raise ValueError("a number is compared with something: only the other way round is known here")
        return {
            labels: value
            for labels, value in left.items()
            if (not isinstance(right, dict) and holds(value, right))
            or (isinstance(right, dict) and labels in right and holds(value, right[labels]))
        }  # fmt: skip

    def added(self) -> Any:
        left = self.multiplied()
        while (sign := self._one_of("+-")) is not None:
            left = _combined(left, self.multiplied(), operator.add if sign == "+" else operator.sub)
        return left

    def multiplied(self) -> Any:
        left = self.atom()
        while (sign := self._one_of("*/")) is not None:
            left = _combined(left, self.atom(), operator.mul if sign == "*" else _divided)
        return left

    def atom(self) -> Any:
        token = self._next()
        if token == "(":
            inner = self.either()
            self._expect(")")
            return inner
        if re.fullmatch(r"\d+(\.\d+)?", token):
            return float(token)
        if token in _AGGREGATES:
            return self._aggregate(_AGGREGATES[token])
        if re.fullmatch(r"[a-zA-Z_:][\w:]*", token) and self._peek() not in ("(", "by"):
            return self._selected(token)
        raise ValueError(f"{token!r} is not known here")

    def _aggregate(self, aggregate: Callable[[Sequence[float]], float]) -> Vector:
        by = self._names() if self._takes("by") else []
        self._expect("(")
        inner = self.either()
        self._expect(")")
        groups: dict[Labels, list[float]] = {}
        for labels, value in inner.items():
            groups.setdefault(frozenset(each for each in labels if each[0] in by), []).append(value)
        return {labels: float(aggregate(values)) for labels, values in groups.items()}

    def _names(self) -> list[str]:
        self._expect("(")
        found = [self._next()]
        while self._takes(","):
            found.append(self._next())
        self._expect(")")
        return found

    def _selected(self, name: str) -> Vector:
        wanted: list[tuple[str, str, str]] = []
        if self._takes("{"):
            while not self._takes("}"):
                label, sign, text = self._next(), self._next(), self._next()
                if sign not in _MATCHES or not text.startswith('"'):
                    raise ValueError(f"{label}{sign}{text} is not known here")
                wanted.append((label, sign, text.strip('"')))
                self._takes(",")
        return {
            frozenset(each.labels.items()): each.value
            for each in self._samples
            if each.name == name
            and all(_MATCHES[sign](each.labels.get(label, ""), text) for label, sign, text in wanted)
        }

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise ValueError("the expression ends in the middle")
        self.at += 1
        return token

    def _takes(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self.at += 1
        return True

    def _one_of(self, signs: Iterable[str]) -> str | None:
        return self._next() if self._peek() and self._peek() in tuple(signs) else None

    def _expect(self, token: str) -> None:
        if not self._takes(token):
            raise ValueError(f"{self._peek()!r} stands where {token!r} is expected")


def _combined(left: Any, right: Any, with_: Callable[[float, float], float]) -> Any:
    match left, right:
        case dict(), dict():
            return {labels: with_(value, right[labels]) for labels, value in left.items() if labels in right}
        case dict(), _:
            return {labels: with_(value, right) for labels, value in left.items()}
        case _, dict():
            return {labels: with_(left, value) for labels, value in right.items()}
        case _:
            return with_(left, right)


def _divided(left: float, right: float) -> float:
    """As floating point has it."""
    if right:
        return left / right
    return math.nan if not left or math.isnan(left) else math.copysign(math.inf, left)
