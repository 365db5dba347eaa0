#!/usr/bin/env bash
# Measures evenshard, and its peers, on this machine; a line a figure.
# Usage: scripts/bench.sh NAME [--events N] [--rounds N] [--seconds S] [--dir D] [--no-peers] [--json]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/setup.sh" --bench >&2
exec "$root/.venv/bin/python" -m evenshard.testing.bench "$@"
