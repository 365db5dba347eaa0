"""Errors survive the wire whole, and always fit into gRPC's metadata."""

import grpc
import pytest
from evenshard.errors import CODES, EvenshardError, FieldFault
from evenshard.wire.status import RETRY_DELAY_DEFAULT_MS, from_rpc_error, from_status, to_status, trailing_metadata
from hypothesis import given
from hypothesis import strategies as st

METADATA_BYTES_MAX = 8192


class FailedCall(grpc.RpcError):
    """What a channel raises."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._values = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._values[0]

    def details(self) -> str:
        return self._values[1]

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._values[2]


def fields(error: EvenshardError) -> tuple[object, ...]:
    return (
        error.code,
        error.message,
        error.hint,
        error.in_doubt,
        error.retry_after_ms,
        tuple(error.fields),
        dict(error.details),
        error.trace_id,
    )


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_returns_as_it_was_sent(code: str) -> None:
    sent = EvenshardError(
        code,
        "what happened: ä 😀",
        hint="do this",
        in_doubt=code == "SHARD_UNAVAILABLE",
        fields=(FieldFault("from_date", "not a date"), FieldFault("to_date", "")),
        details={"shard": "shard-1", "file": "log/0001"},
        trace_id="ab" * 16,
    )
    status = to_status(sent)
    assert status.code == getattr(grpc.StatusCode, CODES[code].grpc_status).value[0]
    call = FailedCall(getattr(grpc.StatusCode, CODES[code].grpc_status), sent.message, trailing_metadata(sent))
    received = from_rpc_error(call, "127.0.0.1:1")
    sent.retry_after_ms = RETRY_DELAY_DEFAULT_MS if sent.retryable else None
    assert fields(received) == fields(sent)


def test_a_named_retry_delay_is_kept() -> None:
    sent = EvenshardError("OVERLOADED", "busy", retry_after_ms=2500)
    received = from_status(to_status(sent))
    assert received is not None
    assert received.retry_after_ms == 2500


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect", "UNREACHABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", "DEADLINE_EXCEEDED"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 8)", "REQUEST_TOO_LARGE"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", "OVERLOADED"),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", "USAGE"),
        (grpc.StatusCode.UNKNOWN, "boom", "INTERNAL"),
    ],
)
def test_a_failure_without_our_status_gets_the_code_to_act_on(status: grpc.StatusCode, said: str, code: str) -> None:
    received = from_rpc_error(FailedCall(status, said), "127.0.0.1:7402")
    assert (received.code, received.details["address"]) == (code, "127.0.0.1:7402")


def test_a_code_of_a_newer_peer_keeps_its_name() -> None:
    status = to_status(EvenshardError("OVERLOADED", "new"))
    status.details[0].value = status.details[0].value.replace(b"OVERLOADED", b"NEWER_CODE")
    received = from_status(status)
    assert received is not None
    assert (received.code, received.details["reason"]) == ("UNREACHABLE", "NEWER_CODE")


@given(
    message=st.text(max_size=5000),
    hint=st.text(max_size=1000),
    details=st.dictionaries(st.text(max_size=300), st.text(max_size=300), max_size=40),
    faults=st.lists(st.text(max_size=300), max_size=40),
)
def test_any_error_fits_into_the_metadata(message: str, hint: str, details: dict[str, str], faults: list[str]) -> None:
    error = EvenshardError(
        "DATA_DAMAGED", message, hint, fields=[FieldFault(name, name) for name in faults], details=details
    )
    status = to_status(error)
    sent_bytes = 3 * len(status.message.encode()) + 4 * len(status.SerializeToString()) // 3
    assert sent_bytes < METADATA_BYTES_MAX - 512
    assert from_status(status) is not None
