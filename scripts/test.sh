#!/usr/bin/env bash
# Everything that must hold before a change lands, in at most 15 minutes on 2 cores: lint, types, layers, protos, tests.
# Sets up what it needs. Longer suites: scripts/soak.sh. Usage: scripts/test.sh [PYTEST_ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --bench # ClickHouse and DuckDB: what funnels and benchmarks are checked against
bin=$PWD/.venv/bin
"$bin/ruff" check --quiet --output-format concise
"$bin/ruff" format --quiet --check
"$bin/mypy"
"$bin/lint-imports" --no-logo
(cd protos && "$bin/buf" lint)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts/protos.sh "$work/api"
diff -r --exclude __pycache__ services/evenshard/api "$work/api" || {
  echo "test: services/evenshard/api is not what scripts/protos.sh makes of protos: run it" >&2
  exit 1
}

if [ $# -gt 0 ]; then
  exec "$bin/python" -m pytest -m "not slow" "$@"
fi
# What computes shares the cores; what starts processes, or watches the clock, has them to itself.
"$bin/python" -m pytest -m "not slow" --numprocesses 2 tests/unit tests/property tests/compat tests/conformance \
  tests/fault tests/integration/client tests/integration/cluster
"$bin/python" -m pytest -m "not slow" tests/integration/{bench,bounds,directory,process,real}
