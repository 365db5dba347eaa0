#!/usr/bin/env bash
# Everything that must hold before a change lands, in at most 15 minutes on 2 cores: lint, types, layers, protos, tests.
# Sets up what it needs. Longer suites: scripts/soak.sh. Usage: scripts/test.sh [PYTEST_ARGUMENT...]
#
# How the time is spent. A cluster costs some ten seconds of processor time to start, and then waits a good part of the
# time: for a disk, a lease, a drain. So all tests run two at a time, those of one file in one process, which shares its
# clusters; each process has ports of its own. What starts clusters comes first, so that small files fill up the end.
# What only reads the sources runs beside them. Samples of what takes minutes take seconds; whole, they are marked slow.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --bench # ClickHouse and DuckDB, what funnels and benchmarks are checked against; data frames, plots, Helm
bin=$PWD/.venv/bin
"$bin/ruff" check --quiet --output-format concise
"$bin/ruff" format --quiet --check

work=$(mktemp -d)
checking=""
trap '[ -z "$checking" ] || kill "$checking" 2>/dev/null || true; rm -rf "$work"' EXIT

# Types, layers, protos: nothing that a test makes.
check() {
  "$bin/mypy" &&
    "$bin/lint-imports" --no-logo &&
    (cd protos && "$bin/buf" lint) &&
    scripts/protos.sh "$work/api" &&
    { diff -r --exclude __pycache__ services/evenshard/api "$work/api" || {
      echo "test: services/evenshard/api is not what scripts/protos.sh makes of protos: run it"
      false
    }; }
}
check > "$work/checks" 2>&1 &
checking=$!

status=0
if [ $# -gt 0 ]; then
  "$bin/python" -m pytest -m "not slow" "$@" || status=$?
else
  "$bin/python" -m pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder \
    tests/integration/{real,process,bench,bounds,directory,cluster,client} \
    tests/fault tests/conformance tests/compat tests/property tests/unit || status=$?
fi
wait "$checking" || status=1
checking=""
cat "$work/checks"
exit "$status"
