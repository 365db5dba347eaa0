"""``serve`` refuses what cannot work before it starts anything."""

import json

import pytest
from evenshard.cli.main import run
from evenshard.errors import EvenshardError
from evenshard.runtime import processor

ARGUMENTS = ["serve", "router", "--name", "router-0", "--etcd", "127.0.0.1:1"]


@pytest.mark.parametrize("listen", ["0.0.0.0:7400", "[::]:7400", ":7400"])
def test_an_address_that_stands_for_all_is_not_written_down_as_ones_own(
    listen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*ARGUMENTS, "--listen", listen]) == 2
    said = capsys.readouterr().err
    assert f"--listen {listen} is nobody's address" in said
    assert "--advertise HOST:PORT" in said


def test_a_processor_that_does_not_fit_is_told_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsuitable() -> None:
        raise EvenshardError("CPU_UNSUITABLE", "this processor lacks sse4.2, which kernels are compiled for")

    monkeypatch.setattr(processor, "check_processor", unsuitable)
    assert run([*ARGUMENTS, "--listen", "127.0.0.1:0"]) == 4
    assert "CPU_UNSUITABLE: this processor lacks sse4.2" in capsys.readouterr().err


def test_scale_check_without_an_etcd_gives_up_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVENSHARD_ETCD_WAIT_SECONDS", "1")
    assert run(["scale-check", "--shards", "2", "--etcd", "127.0.0.1:1", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "DIRECTORY_UNAVAILABLE"
    assert "ETCD_ENDPOINTS" in error["hint"]
