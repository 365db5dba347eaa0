"""What a kernel is made of, as a hash: its code, the constants it freezes, and the same of every helper it calls.

numba itself looks only at the file a kernel stands in: it would go on using a kernel compiled with a helper or a
constant of another file as that was before.
"""

import enum
import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba.core.extending import _Intrinsic
from numba.core.types import ExternalFunction

_OURS = "evenshard."


def fingerprint_of(function: Callable[..., Any], known: Mapping[Any, str]) -> str:
    """20 hex digits. ``known``: those of the kernels and helpers it may call. Raises ``TypeError`` for a global that
    cannot be told apart from a changed one."""
    assert isinstance(function, FunctionType)
    code = function.__code__
    names = set(_names(code))
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    used = {name: function.__globals__[name] for name in names if name in function.__globals__}
    used |= {name: cell.cell_contents for name, cell in cells}
    parts = [_code(code), *(f"{name}={_described(used[name], names, known)}" for name in sorted(used))]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=10).hexdigest()


def _names(code: CodeType) -> Iterable[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _code(code: CodeType) -> str:
    consts = [_code(const) if isinstance(const, CodeType) else _constant(const) for const in code.co_consts]
    return repr((code.co_code, consts, code.co_names, code.co_varnames, code.co_freevars))


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _described(value: Any, names: Iterable[str], known: Mapping[Any, str]) -> str:
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes():
            return repr(value)
        case tuple():
            return f"({','.join(_described(each, names, known) for each in value)})"
        case np.generic() | np.ndarray():
            return f"{value.dtype.str}{value.shape}{value.tobytes().hex()}"
        case ModuleType():
            return _module(value, names, known)
        case type() if issubclass(value, enum.Enum):
            return repr([(member.name, member.value) for member in value])
        case type() | BuiltinFunctionType() | np.ufunc():
            return f"{getattr(value, '__module__', '')}.{value.__name__}"
        case Hashable() if value in known:
            return known[value]
        case _Intrinsic():
            return fingerprint_of(value.__wrapped__, known)
        case ExternalFunction():
            return f"{value.symbol}{value.sig}"
        case FunctionType() if not value.__module__.startswith(_OURS):
            return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(f"a kernel cannot hold {value!r}: give it a number, a string, an array or a helper made by kernel")


def _module(module: ModuleType, names: Iterable[str], known: Mapping[Any, str]) -> str:
    """Of ours: with whatever the kernel may take from it."""
    if not module.__name__.startswith(_OURS):
        return module.__name__
    taken = {name: getattr(module, name) for name in sorted(names) if hasattr(module, name)}
    return repr([(name, _described(value, (), known)) for name, value in taken.items()])
