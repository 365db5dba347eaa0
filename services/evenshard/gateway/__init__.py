"""Gateways: planning, scatter-gather, merge, export."""
