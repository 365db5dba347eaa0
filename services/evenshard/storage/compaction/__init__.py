"""Turns a tail and a few segments into fewer, larger, sorted segments: planned and merged by pure functions."""
