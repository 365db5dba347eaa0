"""What this machine tells about a process."""

import os
import resource
import socket
from pathlib import Path


def this_host() -> str:
    """The name under which services of this machine register (``ServiceRecord.host``)."""
    return socket.gethostname()


def rss_bytes(pid: int) -> int | None:
    """Resident memory; ``None`` where there is no such process, or no /proc."""
    try:
        statm = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    except OSError:
        return None
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor_s(pid: int) -> float | None:
    """Processor time of all threads of a process so far; ``None`` where there is no such process, or no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # behind the name, which may hold anything
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk_bytes(pid: int) -> tuple[int, int] | None:
    """Bytes a process has read from disks and written to them so far; ``None`` where nobody tells."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    told = dict(line.split(": ") for line in lines)
    return int(told["read_bytes"]), int(told["write_bytes"])


def peak_rss_bytes() -> int:
    """The most resident memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
