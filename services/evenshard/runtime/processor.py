"""Whether this machine's processor has what kernels are compiled for: told before a kernel dies of it."""

import os
import platform
from pathlib import Path
from typing import Final

from evenshard.errors import EvenshardError

FEATURES: Final = "+cx16,+popcnt,+sse3,+ssse3,+sse4.1,+sse4.2"
"""What kernels are compiled for where the environment does not say otherwise; a test holds it to ``kernels``."""
CPU_FEATURES_VARIABLE: Final = "NUMBA_CPU_FEATURES"
CPUINFO: Final = Path("/proc/cpuinfo")
_FLAGS: Final = {"sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "bmi": "bmi1", "lzcnt": "abm"}
"""Features that Linux calls otherwise than LLVM does."""


def check_processor(cpuinfo: Path = CPUINFO, machine: str = "") -> None:
    """Raises ``CPU_UNSUITABLE``, naming what is missing. Where the system does not tell, nothing is."""
    if (machine or platform.machine()) != "x86_64":
        return
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    missing = missing_features(text, os.environ.get(CPU_FEATURES_VARIABLE, FEATURES))
    if missing:
        raise EvenshardError(
            "CPU_UNSUITABLE",
            f"this processor lacks {', '.join(missing)}, which kernels are compiled for",
            hint="run it on an x86-64-v2 processor (any server of the last decade); of a virtual machine, choose a CPU "
            "model that passes these on",
            details={"missing": ",".join(missing)},
        )


def missing_features(cpuinfo: str, features: str) -> list[str]:
    """Of ``features`` (``+a,+b,-c``) those wanted that the first processor of ``cpuinfo`` does not have."""
    line = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    flags = set(line.partition(":")[2].split())
    if not flags:
        return []
    wanted = [each[1:] for each in features.split(",") if each.startswith("+")]
    return [each for each in wanted if _FLAGS.get(each, each) not in flags]
