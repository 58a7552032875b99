"""How hard properties are tried here: few examples, the same each time, however busy the machine is."""

from hypothesis import HealthCheck, settings

few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
