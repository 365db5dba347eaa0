#!/usr/bin/env bash
# Makes .venv with everything evenshard needs, from Python >= 3.11 and pip alone. Run again, it does only what is
# missing. --bench adds the peers that benchmarks compare with. Usage: scripts/setup.sh [--bench]
set -euo pipefail
case "$*" in
  "") peers=no ;;
  --bench) peers=yes ;;
  *)
    echo "usage: scripts/setup.sh [--bench]" >&2
    exit 2
    ;;
esac
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3 python; do
    if [ -n "$candidate" ] && fits "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  echo "setup: no Python from 3.11 to 3.13 with venv and pip is on PATH (name one by PYTHON)" >&2
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
if [ "$peers" = yes ]; then
  wanted=$(sha256sum < constraints-bench.txt)
  if [ "$(cat .venv/installed-bench 2>/dev/null || true)" != "$wanted" ]; then
    echo "setup: installing the peers" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
      --requirement constraints-bench.txt
    .venv/bin/python -m pip check --disable-pip-version-check >&2
    echo "$wanted" > .venv/installed-bench
  fi
fi

# Kernels are compiled when their modules are imported; importing all of them fills the cache.
.venv/bin/python - <<'PYTHON'
import importlib, pathlib, re
root = pathlib.Path("services")
for path in sorted(root.glob("evenshard/**/*.py")):
    if re.search(r"^@(kernels\.)?kernel\(", path.read_text(), re.MULTILINE):
        importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
PYTHON
