"""Benchmarks on real processes: seeded data made before the clock starts, answers checked before a figure stands."""
