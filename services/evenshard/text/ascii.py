"""Tables for terminals that know no characters beyond their language's."""

from typing import Final

_INSTEAD: Final = str.maketrans(
    {
        **dict.fromkeys("█▉▊▋▌", "#"),
        **dict.fromkeys("▍▎▏", "-"),
        **dict(zip("▁▂▃▄▅▆▇", "_..::=#", strict=True)),
        **dict(zip("░▒▓", ".:=", strict=True)),
        **dict(zip("├└─…–→≥−", "|`-~-><-", strict=True)),
    }
)


def for_encoding(text: str, encoding: str) -> str:
    """The text; where the encoding lacks what tables are drawn with, with other characters as wide instead."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_INSTEAD)
    return text
