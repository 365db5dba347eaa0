"""Of steps of which no event matches two: the number of the step that each row matches, from 1."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import parse
from evenshard.queries.groups import Integers
from evenshard.queries.step_masks import bits_of, masks_of
from evenshard.queries.steps import Step
from evenshard.queries.user_rows import Choice, Coded, Masks, SmallMasks
from evenshard.queries.values import encoded


def are_apart(steps: Sequence[Step]) -> bool:
    """Whether no event matches two of ``steps``, whatever it is."""
    names = {name for step in steps for name in step.events}
    return all(step.events for step in steps) and len(names) == sum(len(set(step.events)) for step in steps)


class StepNumbers:
    """Matches batches against steps that ``are_apart``; 0 where ``where`` is false of a row, or no step is matched."""

    def __init__(self, steps: Sequence[Step], where: str) -> None:
        self._steps = list(enumerate(steps))
        self._step_wheres = [parse(step.where) if step.where else None for step in steps]
        self._where = parse(where) if where else None

    def choice(self, record: pa.RecordBatch) -> Choice | None:
        """The step of each row (uint8); None: no row matches any."""
        codes, names = encoded(record.column("event"))
        every = bits_of(self._steps, names)
        if not every.any():
            return None
        numbers = self._numbers(record, codes, every)
        if self._where is not None:
            numbers = masks_of(numbers)
            numbers[~evaluate(self._where, record)] = 0
        return numbers

    def _numbers(self, record: pa.RecordBatch, codes: Integers, every: Masks) -> Choice:
        numbers = np.zeros(len(every), np.uint8)
        numbers[every != 0] = np.log2(every[every != 0]).astype(np.uint8) + 1
        if all(where is None for where in self._step_wheres):
            return Coded(codes, numbers)
        steps: SmallMasks = numbers[codes]
        for number, where in enumerate(self._step_wheres, 1):
            if where is not None:
                own = steps == number
                if own.any():
                    steps[own & ~evaluate(where, record)] = 0
        return steps
