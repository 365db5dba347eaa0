"""Which shards a tenant may live on: those that have certain labels, ``zone=a`` or ``tier=ssd``. Pure.

Several values of one name are alternatives; of each name that is given a shard must have one.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from evenshard.errors import EvenshardError, FieldFault

LABELS_MAX: Final = 50
_LABEL: Final = re.compile(r"([A-Za-z0-9_.-]{1,63})=([A-Za-z0-9_.-]{1,63})", re.ASCII)


def required_of(labels: Collection[str]) -> dict[str, frozenset[str]]:
    """Of each name the values that do. Raises ``QUERY_INVALID``, naming ``required_labels``, for what is none."""
    if len(labels) > LABELS_MAX:
        raise _wrong(f"{len(labels)} labels, at most {LABELS_MAX} may be required")
    found: dict[str, frozenset[str]] = {}
    for each in labels:
        label = _LABEL.fullmatch(each)
        if label is None:
            raise _wrong(f"{each!r} is no NAME=VALUE of letters, digits, _ . -")
        found[label[1]] = found.get(label[1], frozenset()) | {label[2]}
    return found


def missing(labels: Mapping[str, str], required: Mapping[str, Collection[str]]) -> str:
    """The name of a label that a shard lacks; empty: none."""
    return next((name for name, values in required.items() if labels.get(name) not in values), "")


def labels_text(labels: Iterable[str]) -> str:
    """For people."""
    return ", ".join(sorted(labels))


def _wrong(problem: str) -> EvenshardError:
    return EvenshardError("QUERY_INVALID", problem, fields=(FieldFault("required_labels", problem),))
