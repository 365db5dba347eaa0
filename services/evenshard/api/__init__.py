"""Generated from protos by scripts/protos.sh; never edited."""
