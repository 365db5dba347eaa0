"""The account of an answer."""

from collections.abc import Mapping
from typing import Any

from evenshard.text.table import Lines


def account(meta: Mapping[str, Any]) -> list[Lines]:
    """META: what is missing, what was read, what is to be heeded."""
    skipped = meta["duplicates_skipped"]
    shards = f"{meta['shards']} shard{'' if meta['shards'] == 1 else 's'}"
    known = " (known from before)" if meta.get("cache") == "hit" else ""
    read = (
        f"{meta['rows_scanned']:,} rows of {shards}{known} in {meta['elapsed_ms']:.1f} ms, "
        f"{skipped['log'] + skipped['segment']:,} duplicates skipped; trace {meta['trace_id']}"
    )
    return [*caveats(meta), Lines([read], "quiet")]


def caveats(meta: Mapping[str, Any]) -> list[Lines]:
    """What nobody who reads the numbers should miss; mostly nothing."""
    lines = [] if meta.get("complete", True) else [f"PARTIAL: missing {', '.join(meta['missing_shards'])}"]
    lines += [f"warning {each['code']}: {each['message']}" for each in meta.get("warnings", ())]
    return [Lines(lines, "warning")] if lines else []
