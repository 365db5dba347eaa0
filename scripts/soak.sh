#!/usr/bin/env bash
# The suites that take long; a sample of each runs in scripts/test.sh. Usage: scripts/soak.sh [PYTEST_ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --bench # ClickHouse and DuckDB, as in scripts/test.sh: without them their suites would be skipped
.venv/bin/python -m pytest -m slow "$@"
