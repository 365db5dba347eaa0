"""Which of several steps the rows of a batch match: one bit a step."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import names_in, parse
from evenshard.queries.steps import Step
from evenshard.queries.values import FIELD_OF_NAME, encoded

Masks = npt.NDArray[np.uint64]


class StepMatcher:
    """Matches batches against the same steps, and notes which of their names it has met."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.seen: set[str] = set()
        """Names of the steps' events that occur, whatever else is true of these."""
        self._wheres = [parse(step.where) if step.where else None for step in steps]
        self._names = {name for step in steps for name in step.events}

    def masks(self, record: pa.RecordBatch) -> Masks:
        """For each row: bit s is set where it matches step s (from 0). ``record`` has ``event`` if any step names
        events, and the columns of every property that filters look at."""
        codes, names = np.zeros(record.num_rows, np.int32), pa.array([""])
        if self._names:
            codes, names = encoded(record.column("event"))
            self._note(codes, names)
        masks = self._bits(names, [number for number, where in enumerate(self._wheres) if where is None])[codes]
        for number, where in enumerate(self._wheres):
            if where is not None:
                named = self._bits(names, [number])
                if named.any():
                    masks |= np.where(evaluate(where, record), named[codes], np.uint64(0))
        return masks

    def _note(self, codes: npt.NDArray[np.int32], names: pa.Array) -> None:
        unseen = pc.is_in(names, value_set=pa.array(sorted(self._names - self.seen), names.type))
        for code in np.flatnonzero(unseen.to_numpy(zero_copy_only=False)).tolist():
            if (codes == code).any():
                self.seen.add(names[code].as_py())

    def _bits(self, names: pa.Array, wanted: Sequence[int]) -> Masks:
        """For each name the steps (of those wanted) whose events it is one of."""
        bits = np.zeros(len(names), np.uint64)
        for number in wanted:
            events = self.steps[number].events
            found = pc.is_in(names, value_set=pa.array(events, names.type)).to_numpy(zero_copy_only=False)
            bits[found if events else slice(None)] |= np.uint64(1 << number)
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
