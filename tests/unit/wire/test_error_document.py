"""The JSON form of an error says all of it, and can be read back."""

import pytest
from evenshard.errors import CODES, EvenshardError, FieldFault
from evenshard.wire.error_document import error_document, error_from_document


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_error_written_is_read_back_whole(code: str) -> None:
    error = EvenshardError(
        code,
        "what happened",
        hint="do this",
        in_doubt=True,
        retry_after_ms=5,
        fields=(FieldFault("time", "is missing"),),
        details={"file": "log/0001"},
        trace_id="ab" * 16,
    )
    document = error_document(error)
    assert document == {
        "error": {
            "code": code,
            "message": "what happened",
            "hint": "do this",
            "retryable": error.retryable,
            "trace_id": "ab" * 16,
            "details": {
                "file": "log/0001",
                "in_doubt": True,
                "retry_after_ms": 5,
                "fields": [{"field": "time", "description": "is missing"}],
            },
        }
    }
    read = error_from_document(document)
    assert read is not None
    assert error_document(read) == document


@pytest.mark.parametrize("document", [{}, {"error": "text"}, {"error": {"code": "NO_SUCH_CODE"}}, {"error": None}])
def test_what_is_no_error_is_not_read_as_one(document: dict[str, object]) -> None:
    assert error_from_document(document) is None
