"""Property tests look for wrong results, not for slow ones: the machine may have other things to do."""

from hypothesis import HealthCheck, settings

settings.register_profile("plugin-gateway", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plugin-gateway")
