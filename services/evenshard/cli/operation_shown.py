"""An operation for people, and when nothing more happens to it by itself."""

from collections.abc import Mapping
from typing import Any, Final

from evenshard.text.moves import progress_line

_DONE: Final = {"delete-users": "rewritten", "repair": "repaired", "repair-undo": "taken back"}
_MOVES: Final = frozenset(["move", "split", "merge", "isolate", "drain", "rebalance"])


def named_operation(document: Mapping[str, Any]) -> str:
    """An operation, as in a question."""
    whose = f" of tenant {document['tenant']}" if document["tenant"] else ""
    return f"operation {document['operation']} ({document['kind']}{whose})"


def shown_operation(document: Mapping[str, Any]) -> str:
    """An operation, for people."""
    if document["kind"] in _MOVES:
        whose = f" of tenant {document['tenant']}" if document["tenant"] else ""
        asked = f"{document['kind']}{whose}, asked for by {document['requested_by']}"
        return f"{progress_line(document)}\n  {asked}"
    why = f"\n  {document['error']}" if document["error"] else ""
    held = ", paused" if document["paused"] else ""
    return (
        f"{document['operation']}: {document['kind']} of tenant {document['tenant']}, {document['state']}{held}\n"
        f"  {document['rows_done']:,} of {document['rows_total']:,} rows {_DONE.get(document['kind'], 'done')}; "
        f"asked for by {document['requested_by']}{why}"
    )
