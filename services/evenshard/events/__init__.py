"""Events as columns: the event batch, its identity and hashes, validation, and the Arrow and NDJSON codecs. Pure."""
