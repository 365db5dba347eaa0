#!/usr/bin/env bash
# Makes .venv with everything evenshard needs, from Python >= 3.11 and pip alone. Run again, it does only what is
# missing. --bench adds what tests and benchmarks need besides: the peers they compare with, data frames, plots, Helm.
# Usage: scripts/setup.sh [--bench]
set -euo pipefail
case "$*" in
  "") bench=no ;;
  --bench) bench=yes ;;
  *)
    echo "usage: scripts/setup.sh [--bench]" >&2
    exit 2
    ;;
esac
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

# The files that constraints.txt pins are of these.
if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "setup: this is $(uname -sm), and constraints.txt pins the packages' files for Linux x86_64 alone; by hand, and" \
    "untried there: python3 -m venv .venv && .venv/bin/pip install -e '.[dev]'" >&2
  exit 4
fi
fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }

find_python() {
  local candidate version found="" candidates=(python3.11 python3.12 python3.13 python3 python)
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    if fits "$candidate"; then
      echo "$candidate"
      return
    fi
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case $version in
      3.11 | 3.12 | 3.13) found+="; $candidate is $version without venv or ensurepip (Debian: python$version-venv)" ;;
      *) found+="; $candidate is $version" ;;
    esac
  done
  echo "setup: evenshard needs Python 3.11, 3.12 or 3.13 with venv and pip: for these constraints.txt pins the packages'" \
    "files. Found: ${found:-; none in ${candidates[*]}}. Name another: PYTHON=/path/to/python3.12 $0" |
    sed 's/Found: ; /Found: /' >&2
  return 4
}

if ! { [ -x .venv/bin/python ] && fits .venv/bin/python; }; then
  python=$(find_python)
  echo "setup: making .venv with $python" >&2
  rm -rf .venv
  "$python" -m venv .venv
fi

# What is installed was installed from exactly these files.
wanted=$(cat pyproject.toml constraints.txt | sha256sum)
if [ "$(cat .venv/installed 2>/dev/null || true)" != "$wanted" ]; then
  echo "setup: installing" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement constraints.txt
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
  .venv/bin/python -m pip check --disable-pip-version-check >&2
  echo "$wanted" > .venv/installed
fi
# Beside the kernels, which need a processor where this needs the network and the disk. Most of it is never imported, so
# it is not compiled to bytecode either.
peers=""
trap '[ -z "$peers" ] || kill "$peers" 2>/dev/null || true' EXIT
if [ "$bench" = yes ]; then
  wanted=$(sha256sum < constraints-bench.txt)
  if [ "$(cat .venv/installed-bench 2>/dev/null || true)" != "$wanted" ]; then
    echo "setup: installing the peers, data frames, plots and Helm" >&2
    {
      .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --no-compile \
        --requirement constraints-bench.txt &&
        .venv/bin/python -m pip check --disable-pip-version-check >&2 &&
        echo "$wanted" > .venv/installed-bench
    } &
    peers=$!
  fi
fi

# Kernels are compiled when their modules are imported; importing all of them fills the cache, once for these sources as
# they lie here (numba looks at place, size and time of a kernel's file).
kernels=${NUMBA_CACHE_DIR:-.venv/share/evenshard/kernels}
wanted=$({ echo "$root $kernels"; find services/evenshard -name '*.py' -printf '%p %s %T@\n' | sort; } | sha256sum)
if ! { [ -d "$kernels" ] && [ "$(cat .venv/kernels-of 2>/dev/null || true)" = "$wanted" ]; }; then
  .venv/bin/python scripts/warm_kernels.py
  { echo "$wanted" > .venv/kernels-of; } 2> /dev/null || true # another user's: asked again
fi
[ -z "$peers" ] || wait "$peers"
