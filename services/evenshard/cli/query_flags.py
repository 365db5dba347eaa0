"""What the commands of ``evenshard query`` share: flags' names, requests from files, the account of an answer."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenshard.errors import EvenshardError


def flag(name: str) -> str:
    """The flag of an argument."""
    return "--" + name.removesuffix("_date").rstrip("_").replace("_", "-")


def read_request(path: str) -> bytes:
    """The bytes of a file, or of stdin for ``-``. Raises ``USAGE``."""
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise EvenshardError("USAGE", f"{path}: {error.strerror}", hint="give a file, or -") from error


def account(meta: Mapping[str, Any]) -> str:
    """META for people."""
    skipped = meta["duplicates_skipped"]
    lines = [
        f"{meta['rows_scanned']:,} rows of {meta['shards']} shards in {meta['elapsed_ms']:.1f} ms, "
        f"{skipped['log'] + skipped['segment']:,} duplicates skipped; trace {meta['trace_id']}"
    ]
    if not meta["complete"]:
        lines.insert(0, f"PARTIAL: missing {', '.join(meta['missing_shards'])}")
    lines += [f"warning {each['code']}: {each['message']}" for each in meta["warnings"]]
    return "\n".join(lines)
