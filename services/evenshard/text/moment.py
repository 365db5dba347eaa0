"""Instants as people read them."""

from datetime import UTC, datetime, timedelta


def moment(time_ms: int) -> str:
    """UTC, to the ms."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{time_ms % 1000:03}"
