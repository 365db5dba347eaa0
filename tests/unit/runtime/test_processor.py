"""A processor that lacks what kernels are compiled for is named before a kernel dies of it."""

import os
from pathlib import Path

import pytest
from evenshard import kernels
from evenshard.errors import EvenshardError
from evenshard.runtime.processor import CPU_FEATURES_VARIABLE, FEATURES, check_processor, missing_features

OLD = "processor\t: 0\nflags\t\t: fpu cx16 sse sse2 pni ssse3 sse4_1\n\nprocessor\t: 1\nflags\t\t: popcnt sse4_2\n"
WHOLE = "flags\t\t: fpu cx16 popcnt pni ssse3 sse4_1 sse4_2 avx2 bmi1\n"


def test_what_is_checked_is_what_kernels_are_compiled_for() -> None:
    assert kernels.__file__ is not None
    assert f'"{FEATURES}"' in Path(kernels.__file__).read_text()


def test_features_of_the_first_processor_count_by_the_names_linux_has_for_them() -> None:
    assert missing_features(OLD, FEATURES) == ["popcnt", "sse4.2"]
    assert missing_features(WHOLE, FEATURES) == []
    assert missing_features(WHOLE, f"{FEATURES},+avx2,+bmi,-avx512f,+lzcnt") == ["lzcnt"]
    assert missing_features("model name\t: no flags are told\n", FEATURES) == []


def test_a_missing_feature_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CPU_FEATURES_VARIABLE, raising=False)
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "whole").write_text(WHOLE)
    with pytest.raises(EvenshardError) as refused:
        check_processor(tmp_path / "old", "x86_64")
    assert (refused.value.code, refused.value.exit_status) == ("CPU_UNSUITABLE", 4)
    assert refused.value.message == "this processor lacks popcnt, sse4.2, which kernels are compiled for"
    assert "x86-64-v2" in refused.value.hint
    check_processor(tmp_path / "whole", "x86_64")
    check_processor(tmp_path / "old", "aarch64")
    check_processor(tmp_path / "absent", "x86_64")
    monkeypatch.setenv(CPU_FEATURES_VARIABLE, "+avx512f")
    with pytest.raises(EvenshardError, match="lacks avx512f"):
        check_processor(tmp_path / "whole", "x86_64")


def test_this_machine_passes() -> None:
    check_processor()
    assert os.path.exists("/proc/cpuinfo")
