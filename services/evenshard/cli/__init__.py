"""The `evenshard` command."""
