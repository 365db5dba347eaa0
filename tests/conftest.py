"""What all tests share: property tests judge answers, not how busy the machine is, and say how to repeat a failure."""

from hypothesis import settings

settings.register_profile("evenshard", deadline=None, print_blob=True)
settings.load_profile("evenshard")
