"""The one place where numba is set up: target CPU, cache, the decorator of every kernel, and what was compiled when.

Kernels have explicit signatures, so importing a module that holds one compiles it (or loads it from the cache) there
and then: nothing is ever compiled inside a request, and who wants to know is told by ``compiled`` and
``on_compilation``. The settings must stand in the environment before numba is imported, therefore kernels import
``kernel`` from here and never numba itself.
"""

import os
import platform
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

os.environ.setdefault("NUMBA_CPU_NAME", "generic")
if platform.machine() == "x86_64":
    # x86-64-v2: any server of the last decade; a fixed set keeps one cache valid on all of them.
    os.environ.setdefault("NUMBA_CPU_FEATURES", "+cx16,+popcnt,+sse3,+ssse3,+sse4.1,+sse4.2")

import numba
from numba.core import cgutils, event, types
from numba.extending import intrinsic

from evenshard.kernels.cache import KernelCache, installed_root, temporary_root, writable_root
from evenshard.kernels.fingerprint import fingerprint_of

prange = numba.prange

_INSTALLED: Final = installed_root(os.environ, Path(sys.prefix))
_CACHE: Final = KernelCache(writable_root(_INSTALLED, os.environ, temporary_root()), _INSTALLED)
_LOCK: Final = threading.Lock()
_fingerprints: Final[dict[Any, str]] = {}
"""Of every kernel and helper so far, by its dispatcher."""


def view(dtype: str) -> str:
    """The signature of a contiguous one-dimensional input array; read-only (as Arrow's buffers are) or not."""
    return f"Array({dtype}, 1, 'C', readonly=True)"


def c_function(name: str, result: str, *arguments: str) -> Any:
    """A function of the C library, for kernels to call, by numba's names of its types. The cache knows it by its name,
    not by where this process has it."""
    return types.ExternalFunction(name, getattr(types, result)(*(getattr(types, each) for each in arguments)))


@intrinsic
def prefetch(typing, array, index):  # type: ignore[no-untyped-def]
    """For kernels: asks for what ``array[index]`` (``index``: uint64) is in memory to be brought near; nothing else
    happens, also where the array has no such place."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), cgutils.voidptr_t)
        number = cgutils.int32_t
        declared = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, declared, "llvm.prefetch.p0")
        for_reading, kept_near, of_data = number(0), number(3), number(1)
        builder.call(function, [place, for_reading, kept_near, of_data])
        return context.get_dummy_value()

    return types.void(array, index), generate


def kernel(
    *signatures: str, inline: bool | Literal["always"] = False, counted: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiles a function for exactly ``signatures``, with the GIL released and the result cached on disk.

    With ``inline`` and no signature it is a helper, compiled into the kernels that call it. A helper that takes arrays
    and is called for every row wants ``inline="always"``: else each call may count references to them. Where it
    branches they are counted even so; ``counted=False`` (for kernels that make no arrays) leaves all counting out.
    """

    def made(function: Callable[..., Any]) -> Callable[..., Any]:
        with _LOCK:
            made_of = fingerprint_of(function, _fingerprints)
            place = _CACHE.place(f"{function.__module__}.{function.__qualname__}", made_of)
            options: dict[str, Any] = {"nogil": True, "cache": place is not None, "error_model": "numpy"}
            if inline:
                options["inline"] = inline if isinstance(inline, str) else "never"
            if not counted:
                options["_nrt"] = False
            before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(place or "")
            try:
                dispatcher: Callable[..., Any] = numba.njit(list(signatures) or None, **options)(function)
            finally:
                numba.config.CACHE_DIR = before
            # How a helper is compiled shows in the kernels that call it.
            how = "" if inline in (True, False) and counted else f" inline={inline} counted={counted}"
            _fingerprints[dispatcher] = made_of + how
            return dispatcher

    return made


def compiled() -> int:
    """How many kernels this process has compiled because the cache did not hold them."""
    return sum(sum(dispatcher.stats.cache_misses.values()) for dispatcher in _fingerprints)


class _Listener(event.Listener):
    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def on_start(self, started: Any) -> None:
        self._tell(started.data["dispatcher"].py_func.__qualname__)

    def on_end(self, ended: Any) -> None:
        """Of no interest."""


def on_compilation(tell: Callable[[str], None]) -> None:
    """From now on ``tell`` gets the name of every function numba compiles in this process."""
    event.register("numba:compile", _Listener(tell))
