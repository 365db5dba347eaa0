"""Routers: validation, placement, imports; the admin API."""
