"""Answers for people: what to show of each kind, once, painted as characters for a terminal or as HTML. Pure."""
