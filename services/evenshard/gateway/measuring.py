"""The metrics of a gateway."""

from collections.abc import Mapping

from evenshard.gateway.admission import Admission
from evenshard.gateway.known import Known
from evenshard.runtime.metrics import count, is_measuring, observe
from evenshard.wire.query import Account


def observe_gateway(known: Known, admission: Admission) -> None:
    """From now on they are told."""
    observe("evenshard.gateway.cache", lambda: known.bytes)
    observe("evenshard.gateway.queries", lambda: _queries(admission))


def count_answer(account: Account) -> None:
    """What a query has read."""
    if not is_measuring():
        return
    stats = account.stats
    count("evenshard.query.answers", 1, {"evenshard.cache": "hit" if account.from_cache else "miss"})
    count("evenshard.query.rows", stats.rows_scanned)
    count("evenshard.query.bytes", stats.bytes_scanned)
    count("evenshard.query.duplicates", stats.duplicates_skipped_log, {"evenshard.place": "log"})
    count("evenshard.query.duplicates", stats.duplicates_skipped_segment, {"evenshard.place": "segment"})


def _queries(admission: Admission) -> list[tuple[float, Mapping[str, str]]]:
    running, waiting = admission.load()
    return [(running, {"evenshard.state": "running"}), (waiting, {"evenshard.state": "waiting"})]
