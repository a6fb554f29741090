"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# How long an example takes says something about who else uses the machine, and nothing about what is tested.
settings.register_profile("secretfs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("secretfs")
