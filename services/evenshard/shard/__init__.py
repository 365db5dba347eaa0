"""Shards: the storage engine behind RPCs."""
