"""Decoded columns and users of segments and of the tail, kept for the next scan."""
