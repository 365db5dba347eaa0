"""The answer to an import for people who asked from Python; the command says more about it."""

from collections.abc import Mapping
from typing import Any, Final

from evenshard.text.table import Block, Lines, table_of

_COUNTS: Final = ("accepted", "duplicates", "hot_events_rewritten", "rejected")


def import_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The document of ``import``. Whether it took long is no part of what it says: it is in the fields."""
    rows = [[tenant, *(counts[name] for name in _COUNTS)] for tenant, counts in document["by_tenant"].items()]
    if len(rows) != 1:
        rows.append(["all", *(document[name] for name in _COUNTS)])
    blocks: list[Block] = [table_of(["tenant", "accepted", "duplicates", "hot", "rejected"], rows)]
    if document["errors"]:
        columns = ("index", "insert_id", "field", "code", "message")
        blocks.append(table_of(columns, [[each[name] for name in columns] for each in document["errors"]]))
    warnings = [f"warning {each['code']}: {each['message']} ({each['count']:,})" for each in document["warnings"]]
    return [*blocks, Lines(warnings, "warning")] if warnings else blocks
