"""What people are told when an import ends."""

from collections.abc import Mapping
from typing import Any, Final

from evenshard.cli.values import table
from evenshard.events.faults import FAULTS

ERRORS_SHOWN: Final = 10
_WORDS: Final = {fault.code: fault.message for fault in FAULTS} | {
    "TENANT_NOT_FOUND": "nobody made the tenant: --create-tenant makes those that are named",
    "SHARD_UNAVAILABLE": "a shard did not answer; it may be stored: import it again, with the same insert_ids",
    "DISTINCT_ID_BLOCKED": "the id is blocked",
}


def import_report(document: Mapping[str, Any]) -> str:
    """The account of an import: how many, of whom, and what was wrong with the rest."""
    parts = [_sentence(document), _tenants(document), _codes(document), _first_errors(document)]
    parts += [f"warning {each['code']}: {each['message']} ({each['count']:,})" for each in document["warnings"]]
    return "\n".join([part for part in parts if part] + [f"trace {document['trace_id']}"])


def _sentence(document: Mapping[str, Any]) -> str:
    hot = document["hot_events_rewritten"]
    hot_words = f", {hot:,} hot" if hot else ""
    return (
        f"{document['events_read']:,} events read: {document['accepted']:,} accepted "
        f"({document['duplicates']:,} of them duplicates{hot_words}), {document['rejected']:,} rejected; "
        f"{document['seconds']:.1f} s, {document['events_per_second']:,.0f} events/s"
    )


def _tenants(document: Mapping[str, Any]) -> str:
    if len(document["by_tenant"]) < 2:
        return ""
    rows = [
        (tenant, counts["accepted"], counts["duplicates"], counts["hot_events_rewritten"], counts["rejected"])
        for tenant, counts in document["by_tenant"].items()
    ]
    return table(("tenant", "accepted", "duplicates", "hot", "rejected"), rows)


def _codes(document: Mapping[str, Any]) -> str:
    by_code = sorted(document["errors_by_code"].items(), key=lambda each: (-each[1], each[0]))
    if not by_code:
        return ""
    return table(("rejected", "code", "because"), [(count, code, _WORDS.get(code, "")) for code, count in by_code])


def _first_errors(document: Mapping[str, Any]) -> str:
    lines = []
    for error in document["errors"][:ERRORS_SHOWN]:
        where = ", ".join(f"{name} {error[name]}" for name in ("tenant", "insert_id") if error[name])
        field = f" {error['field']}:" if error["field"] else ""
        line = f"  line {error['index']}: {error['code']}{field} {error['message']}"
        lines.append(f"{line} ({where})" if where else line)
    more = document["rejected"] - len(lines)
    if more > 0:
        lines.append(f"  and {more:,} more; --errors-to FILE writes each with its event")
    return "\n".join(lines)
