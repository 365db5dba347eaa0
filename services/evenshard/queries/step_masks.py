"""Which of several steps the rows of a batch match: one bit a step."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import names_in, parse
from evenshard.queries.steps import Step
from evenshard.queries.user_rows import AnyMasks, Choice, Coded, Masks
from evenshard.queries.values import FIELD_OF_NAME, encoded


class StepMatcher:
    """Matches batches against the same steps, each with its bit; none where ``where`` is false of a row."""

    def __init__(
        self, selectors: Iterable[tuple[int, Step]], where: str = "", kind: type[Any] = np.uint64, other: int = 0
    ) -> None:
        """``kind``: of masks, uint64 or uint8. ``other``: bits of every row, whatever it matches."""
        self._selectors = [(bit, step, parse(step.where) if step.where else None) for bit, step in selectors]
        self.by_name = any(step.events for _, step, _ in self._selectors)
        """Whether names of events are looked at."""
        self._where = parse(where) if where else None
        self._kind = kind
        self._other = np.uint64(other)

    def choice(self, record: pa.RecordBatch) -> Choice:
        """For each row the bits of the steps it matches. ``record`` has ``event`` if any step names events, and the
        columns of every property that filters look at."""
        if self.by_name:
            codes, names = encoded(record.column("event"))
        else:
            codes, names = np.zeros(record.num_rows, np.int32), pa.array([""])
        bits = bits_of([(bit, step) for bit, step, where in self._selectors if where is None], names) | self._other
        if self._where is None and all(where is None for _, _, where in self._selectors):
            return Coded(codes, bits.astype(self._kind, copy=False))
        masks = bits[codes]
        for bit, step, where in self._selectors:
            if where is not None:
                named = bits_of([(bit, step)], names)
                if named.any():
                    masks |= np.where(evaluate(where, record), named[codes], np.uint64(0))
        if self._where is not None and masks.any():
            masks[~evaluate(self._where, record)] = 0
        found: AnyMasks = masks.astype(self._kind, copy=False)
        return found


def matches_any(choice: Choice) -> bool:
    """Whether any row may match."""
    return bool((choice.bits if isinstance(choice, Coded) else choice).any())


def masks_of(choice: Choice) -> AnyMasks:
    """The mask of each row."""
    return choice.bits[choice.codes] if isinstance(choice, Coded) else choice


def bits_of(selectors: Iterable[tuple[int, Step]], names: pa.Array) -> Masks:
    """For each name the bits of those whose events it is one of; a last entry for no name."""
    of_name: dict[str, int] = {}
    of_any = 0
    for bit, step in selectors:
        if not step.events:
            of_any |= 1 << bit
        for name in step.events:
            of_name[name] = of_name.get(name, 0) | 1 << bit
    asked = np.array([*of_name.values(), 0], np.uint64) | np.uint64(of_any)
    places = pc.index_in(names, value_set=pa.array(list(of_name), names.type)).fill_null(len(of_name))
    bits: Masks = asked[np.append(places.to_numpy(), len(of_name))]
    return bits


def columns_of_steps(steps: Sequence[Step], where: str, others: Sequence[str]) -> tuple[set[str], set[str]]:
    """Fields and properties that steps, the filter of all and ``others`` (names of properties) look at."""
    names = frozenset(others)
    for text in (where, *(step.where for step in steps)):
        names |= names_in(parse(text)) if text else frozenset()
    fields = {FIELD_OF_NAME[name] for name in names if name in FIELD_OF_NAME}
    if any(step.events for step in steps):
        fields.add("event")
    return fields, {name for name in names if name not in FIELD_OF_NAME}
