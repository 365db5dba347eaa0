"""What the system needs from the world, as Protocols of at most ten methods: clock, chance, disk, directory, peers.

``runtime`` holds the real versions, ``testing`` the in-memory ones; both pass one contract suite.
"""
