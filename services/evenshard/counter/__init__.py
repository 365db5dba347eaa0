"""Counters: how often each key was stored."""
