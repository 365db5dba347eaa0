"""The commit log: append-only files of checksummed frames, written in groups of one sync, read back at start.

A file is ``log/NNNNNNNNNN.log``: a file header, then frames. A frame is one event batch of one tenant with its
duplicate bits, or the marker of a clean stop. Rows are numbered through the shard, without gaps from file to file.
"""
