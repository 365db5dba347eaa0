#!/usr/bin/env bash
# Writes what is made from the Helm chart and committed beside it: the manifests of every file in helm/evenshard/ci, and
# the settings in its schema. Read the difference before it is committed. Usage: scripts/chart.sh
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --bench # Helm
.venv/bin/python -m evenshard.testing.chart
