"""``evenshard cohorts``: see ``cohort_command``."""

from evenshard.cli.cohort_command import cohorts as command

__all__ = ["command"]
