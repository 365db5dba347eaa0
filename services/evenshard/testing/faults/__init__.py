"""What proves storage against disks: a disk that keeps a journal and fails on demand, what a power cut may leave of it,
scenarios with an oracle that derives every event from a seed, and mutants of the code that must be found out.
"""
