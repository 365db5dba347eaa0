"""Other systems, measured beside evenshard: each in a process of its own, its data on the same disk."""
