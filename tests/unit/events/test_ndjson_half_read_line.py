"""A line that turns out to be bad half-way leaves the others as they are."""

from evenshard.events.ndjson_codec import decode_ndjson


def test_a_bad_key_after_good_lines_is_that_lines_fault_alone() -> None:
    good = b'{"event":"a","properties":{"distinct_id":"","time":1767225600000,"$insert_id":"1"},"tenant":""}'
    decoded = decode_ndjson(
        good + b'\n{"\xffvent":"","properties":"","tenant":"","p":""}', tenant="t", strict=False, now_ms=1767225600000
    )
    assert [(reject.index, reject.code) for reject in decoded.rejects] == [(1, "INVALID_UTF8")]
    assert [(rows.tenant, rows.batch.rows) for rows in decoded.batches] == [("t", 1)]
