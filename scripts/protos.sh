#!/usr/bin/env bash
# Generates services/evenshard/api from protos. The result is committed; a test checks that it is up to date.
# Usage: scripts/protos.sh [OUTPUT_DIR]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python="$root/.venv/bin/python"
out=${1:-$root/services/evenshard/api}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root/protos"
"$python" -m grpc_tools.protoc -I . --python_out="$work" --pyi_out="$work" --grpc_python_out="$work" \
  evenshard/v1/*.proto etcd/*.proto
mkdir -p "$out/v1" "$out/etcd"
cp "$work"/evenshard/v1/*.py "$work"/evenshard/v1/*.pyi "$out/v1/"
cp "$work"/etcd/*.py "$work"/etcd/*.pyi "$out/etcd/"
# The proto package is evenshard.v1; in Python its modules live in evenshard.api.
sed -i -E 's/^from evenshard\.v1 import/from evenshard.api.v1 import/; s/^from etcd import/from evenshard.api.etcd import/' \
  "$out"/v1/*.py "$out"/v1/*.pyi "$out"/etcd/*.py "$out"/etcd/*.pyi
for package in "$out" "$out/v1" "$out/etcd"; do
  echo '"""Generated from protos by scripts/protos.sh; never edited."""' > "$package/__init__.py"
done
