"""What is known of some stored rows before any column of them is read."""

from typing import Protocol


class Held(Protocol):
    """Rows of a file. Every answer may be True though no row is so, never False though one is: by a False they can be
    passed over. Answers are about rows as they are stored, hot ones too, hidden and foreign ones among them."""

    @property
    def times_ms(self) -> tuple[int, int]:
        """All times lie between, inclusive."""
        ...

    @property
    def has_hot_rows(self) -> bool:
        """Whether rows may be shown as others than they are stored. Exact."""
        ...

    def may_hold_field(self, field: str, text: str) -> bool:
        """Whether a row's ``event``, ``distinct_id`` or ``insert_id`` may be ``text``."""
        ...

    def may_hold_property(self, name: str, value: str | bool | float) -> bool:
        """Whether a row's property may equal ``value``: numbers by value, whatever their type."""
        ...

    def may_have_property(self, name: str) -> bool:
        """Whether a row may have the property at all."""
        ...
