"""What a scan reads of the rows of a tenant."""

from collections.abc import Iterable
from typing import NamedTuple


class Columns(NamedTuple):
    """Fields are those of ``EventBatch``; properties are meant with all their types."""

    fields: tuple[str, ...]
    properties: tuple[str, ...] | None
    """None: all there are."""
    late: tuple[str, ...] = ()
    """Fields beyond ``fields`` that are read where it comes to that."""
    users: bool = False
    """Whose the rows are."""

    @staticmethod
    def of(
        fields: Iterable[str], properties: Iterable[str], *, late: Iterable[str] = (), users: bool = False
    ) -> "Columns":
        """In order."""
        eager = set(fields)
        return Columns(tuple(sorted(eager)), tuple(sorted(properties)), tuple(sorted(set(late) - eager)), users)
