"""Opening payloads within bounds."""

import gzip

import pytest
import zstandard
from evenshard.errors import EvenshardError
from evenshard.router import payload
from evenshard.router.payload import decompress
from evenshard.wire.ingest import Compressor, Import

DATA = b'{"event":"view"}\n' * 5_000


def asked(data: bytes, compressor: Compressor) -> Import:
    return Import("t", "ndjson", compressor, data, strict=False)


@pytest.mark.parametrize(
    ("compressor", "data"),
    [
        ("none", DATA),
        ("gzip", gzip.compress(DATA)),
        ("gzip", gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:])),
        ("zstd", zstandard.compress(DATA)),
        (
            "zstd",
            zstandard.compress(DATA[:1000])
            + zstandard.ZstdCompressor().compressobj().compress(b"")
            + zstandard.compress(DATA[1000:]),
        ),
    ],
)
def test_payload_is_what_was_compressed(compressor: Compressor, data: bytes) -> None:
    assert decompress(asked(data, compressor)) == DATA


@pytest.mark.parametrize(
    ("compressor", "data"),
    [
        ("gzip", gzip.compress(DATA)[:-6]),
        ("gzip", gzip.compress(DATA) + b"more"),
        ("gzip", DATA),
        ("zstd", zstandard.compress(DATA)[:-6]),
        ("zstd", zstandard.compress(DATA) + b"more"),
        ("zstd", gzip.compress(DATA)),
    ],
)
def test_broken_compression_is_payload_invalid(compressor: Compressor, data: bytes) -> None:
    with pytest.raises(EvenshardError) as caught:
        decompress(asked(data, compressor))
    assert caught.value.code == "PAYLOAD_INVALID"


@pytest.mark.parametrize("compressor", ["gzip", "zstd"])
def test_a_bomb_is_too_large(compressor: Compressor, monkeypatch: pytest.MonkeyPatch) -> None:
    compress = gzip.compress if compressor == "gzip" else zstandard.compress
    monkeypatch.setattr(payload, "PAYLOAD_BYTES_MAX", 1 << 20)
    assert len(decompress(asked(compress(bytes(1 << 20)), compressor))) == 1 << 20
    with pytest.raises(EvenshardError) as caught:
        decompress(asked(compress(bytes((1 << 20) + 1)), compressor))
    assert caught.value.code == "REQUEST_TOO_LARGE"
