"""How hard the machines are tried: few examples by default, more when asked for.

`SWARMDEM_EXAMPLES=2000 pytest tests/protocol/machines` gives every machine that many runs of up to
`SWARMDEM_STEPS` steps. Runs are drawn anew only then; by default they are the same each time.
"""

import os
from unittest import TestCase

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine

ASKED = os.environ.get("SWARMDEM_EXAMPLES")
EXAMPLES = int(ASKED or 12)
STEPS = int(os.environ.get("SWARMDEM_STEPS", "30"))


def case(machine: type[RuleBasedStateMachine]) -> type[TestCase]:
    """Return the test of *machine*."""
    test = machine.TestCase
    test.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=ASKED is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    return test
