#!/usr/bin/env bash
# From nothing to a first answer: installs into .venv, starts a cluster, imports a month of a made-up shop (or your
# events), asks for a trend, a funnel and the hot keys, stops everything it started.
# Usage: scripts/demo.sh [FILE.ndjson[.gz|.zst]]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

if [ $# -gt 1 ] || { [ $# -eq 1 ] && ! { [ -f "$1" ] && [ -r "$1" ]; }; }; then
  echo "demo: ${1:-} is not a file that can be read; usage: scripts/demo.sh [FILE.ndjson[.gz|.zst]]" >&2
  exit 2
fi
echo "Installing what is missing into $root/.venv (the first time this takes a minute or two)."
"$root/scripts/setup.sh"
exec "$root/.venv/bin/python" -m evenshard.testing.demo "$@"
