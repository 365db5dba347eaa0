"""When a backlog grows, and that a rate which could not have been held is no figure."""

import sys
from pathlib import Path

import pytest
from evenshard.testing.bench import __main__ as command
from evenshard.testing.bench import sustained
from evenshard.testing.bench.sustained import is_growing

DUE = 1_000


@pytest.mark.parametrize(
    ("samples", "growing"),
    [
        ([], False),
        ([9_000, 90_000], False),  # too short to tell
        ([2_000 * second for second in range(60)], True),
        ([5_000] * 60, False),
        ([5_000] * 40 + [6_000] * 20, False),  # as high as its peaks may differ
        ([5_000] * 40 + [6_001] * 20, True),
        ([1_000 + 2_000 * (second % 7) for second in range(60)], False),  # rises and falls
        ([200 * second for second in range(40)] + [8_000] * 20, False),  # it has found its level
        ([0] * 59 + [DUE], False),  # nothing is due
        ([0] * 59 + [DUE + 1], True),
        ([20_000] * 20 + [10_000] * 20 + [5_000] * 20, False),
    ],
)
def test_a_backlog_grows_if_its_peaks_do(samples: list[int], growing: bool) -> None:
    assert is_growing(samples, DUE) is growing


def test_a_rate_whose_backlog_grew_ends_the_benchmark_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backlog = [100 * DUE * second for second in range(60)]
    imported = sustained._Imported(1, 1_200_000, 60.0, [], backlog, DUE, {})
    monkeypatch.setattr(sustained, "_import", lambda *_: imported)
    arguments = ["bench", "ingest_sustained", "--events", "1000", "--no-peers", "--dir", str(tmp_path), "--json"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert command.main() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("ingest_sustained: 20,000 events/s were taken but not indexed")
    assert list(tmp_path.iterdir()) == []
