"""Values as people read them, and how much room they take on a terminal."""

import json
from typing import Any, Final

NOT_SET: Final = "(not set)"
UNDEFINED: Final = "–"
"""A number that is none, as an average of nothing."""
_CHARACTERS_MAX: Final = 1_000
"""Of a value that are looked at: it may have a million, and no table shows so many."""
_LATIN_LAST: Final = "\u02ff"
_NARROW: Final = frozenset("…–├└─")
"""What tables are made of."""
_HARMLESS: Final = frozenset("\u00a0\u200d")
"""Not printable by Unicode's word, but of no effect on what stands around them: a space, a joiner of emoji."""


def shown(value: Any) -> str:
    """A number or text of an answer for people, safe to print: what would move a cursor, ring a bell or turn a line
    round is escaped."""
    match value:
        case None:
            return NOT_SET
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}" if abs(value) >= 1 or value == round(value, 2) else f"{value:.5g}"
    return printable(str(value)[:_CHARACTERS_MAX])


def value_text(value: Any) -> str:
    """A property's value as it is: a number of a customer's may be a year or an id, and has no thousands."""
    match value:
        case None:
            return NOT_SET
        case str():
            return printable(value[:_CHARACTERS_MAX])
    return printable(json.dumps(value, ensure_ascii=False)[:_CHARACTERS_MAX])


def printable(text: str) -> str:
    """The text, with characters that control a terminal as ``\\x1b`` or ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in _HARMLESS else _escaped(each) for each in text)


def percent(share: float | None) -> str:
    """A share of 1."""
    return "" if share is None else f"{share * 100:.1f} %"


def duration(seconds: float | None) -> str:
    """In the largest unit of which there is one."""
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def length(text: str) -> int:
    """Columns of a terminal: ideographs and most emoji take two."""
    if text.isascii() or all(each <= _LATIN_LAST or each in _NARROW for each in text):
        return len(text)
    from rich.cells import cell_len  # only where it is needed: importing it takes as long as a small command

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """As much of it as fits, ``…`` in place of the rest."""
    if length(text) <= width:
        return text
    while text and length(text) > width - 1:
        text = text[: min(len(text) - 1, max(0, width - 1))]
    return text + "…" if width > 0 else ""


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
