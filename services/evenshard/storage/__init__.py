"""One shard's data: log, tail, segments, catalog, deduplication, compaction. Plans, dedupe and merge are pure."""
