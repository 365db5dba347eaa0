"""A fingerprint changes with everything a kernel is compiled from, and with nothing else."""

import enum
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from evenshard.kernels import prefetch
from evenshard.kernels.fingerprint import fingerprint_of
from numba.core import types
from numba.extending import intrinsic

SOURCE = """
def kernel(x):
    for i in range(3):
        x += helper(x) + FACTOR
    return x
"""


class State(enum.IntEnum):
    OPEN = 1


class Renumbered(enum.IntEnum):
    OPEN = 2


def _print(source: str = SOURCE, helper: str = "1", factor: Any = 10) -> str:
    """Of a function as if it were compiled from ``source``, calling a helper whose own fingerprint is ``helper``."""
    names: dict[str, Any] = {"FACTOR": factor, "helper": object(), "np": np}
    exec(source, names)
    function = names["kernel"]
    assert isinstance(function, FunctionType)
    return fingerprint_of(function, {names["helper"]: helper})


def test_the_same_kernel_has_the_same_fingerprint_wherever_it_stands() -> None:
    assert _print() == _print() == _print("\n\n# moved\n" + SOURCE)


@pytest.mark.parametrize(
    "changed",
    [
        {"source": SOURCE.replace("range(3)", "range(4)")},
        {"source": SOURCE.replace("+=", "-=")},
        {"helper": "2"},
        {"factor": 11},
        {"factor": 10.0},
        {"factor": (10, 11)},
        {"factor": np.uint8(10)},
        {"factor": np.array([10])},
        {"factor": np.array([11])},
        {"factor": State},
        {"factor": Renumbered},
    ],
)
def test_whatever_goes_into_a_kernel_changes_its_fingerprint(changed: dict[str, Any]) -> None:
    assert _print(**changed) != _print()


def _instruction(kept_near: int) -> Any:
    @intrinsic
    def instruction(typing, array):  # type: ignore[no-untyped-def]
        return types.void(array), lambda *_: kept_near

    return instruction


def test_instructions_are_told_apart_by_what_they_are_made_of() -> None:
    assert _print(factor=_instruction(3)) == _print(factor=_instruction(3)) != _print(factor=_instruction(2))
    assert _print(factor=prefetch) == _print(factor=prefetch) != _print(factor=_instruction(3))


def test_every_value_tells_itself_apart_from_every_other() -> None:
    factors = [
        1,
        1.0,
        True,
        "1",
        b"1",
        None,
        (1,),
        np.int64(1),
        np.int32(1),
        np.array([1]),
        np.zeros(2),
        State,
        Renumbered,
    ]
    assert len({_print(factor=factor) for factor in factors}) == len(factors)


@pytest.mark.parametrize("factor", [[1], {"a": 1}, object(), fingerprint_of])
def test_what_could_change_unseen_is_refused(factor: object) -> None:
    with pytest.raises(TypeError, match="a kernel cannot hold"):
        _print(factor=factor)
