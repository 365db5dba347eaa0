"""Which service serves at an address, as the directory last said: for the spans of calls to it."""

from typing import Final

NAMES_MAX: Final = 16_384

_names: dict[str, str] = {}
"""Of this process, by address."""


def note_peer(address: str, name: str) -> None:
    """``name`` serves at ``address``; what was told first is forgotten first."""
    _names.pop(address, None)
    _names[address] = name
    if len(_names) > NAMES_MAX:
        del _names[next(iter(_names))]


def name_of(address: str) -> str:
    """Empty where nobody has said."""
    return _names.get(address, "")
