"""The tail: synced rows that are not indexed yet, in memory, with their duplicate bits decided. Immutable values."""
