"""From plasticity to stability: the tables of the Dem-AI meta-law (arXiv 2003.09301), for a charter.

The philosophy asks that a swarm begins plastic (own learning, groups that form freely) and grows
stable (generalised knowledge, groups that last), in swings; it gives no formula. Ours, at tick t = 0,
1, ... of the schedules' clock:

    p(t) = least + (1 - least) exp(-t / decay) (1 + swing cos(2 pi t / period)) / (1 + swing)

| table        | value                                  | in Dem-AI |
| ------------ | -------------------------------------- | --------- |
| `pull`       | 1 - p(t), a factor on the charter's pull | beta_t of eq. 2; alpha_t is 1 |
| `gamma`      | max(gamma_least, p(t))                 | gamma_t of eq. 3 |
| `hysteresis` | round(256 x bonus x (1 - p(t)))        | micro-adjustments of late stages |
| `tau`        | 1 + floor(longest x (1 - p(t)))        | structuring slows down |

The charter carries the values, not the formula: peers on different machines never compute them. A
drift sets the clock back to half (`drift`), and the swarm is plastic again.
"""

import math

from swarmdem.errors import ConfigError
from swarmdem.wire.charter import TABLE_MAX

Schedules = dict[str, tuple[float, ...]]


def plasticity(
    tick: int, *, decay: float = 20.0, period: float = 10.0, swing: float = 0.3, least: float = 0.05
) -> float:
    """Return p(t), from 1 at the first tick down to about *least*.

    Args:
        tick: t, from 0.
        decay: Ticks in which plasticity falls to a third, without the swings.
        period: Ticks of one swing.
        swing: Depth of the swings, 0 to 1.
        least: Where it ends, 0 to 1.
    """
    pendulum = (1.0 + swing * math.cos(2.0 * math.pi * tick / period)) / (1.0 + swing)
    return least + (1.0 - least) * math.exp(-tick / decay) * pendulum


def dem_ai_schedules(
    rounds: int,
    *,
    decay: float = 20.0,
    period: float = 10.0,
    swing: float = 0.3,
    least: float = 0.05,
    gamma_least: float = 0.1,
    bonus: float = 0.3,
    longest: int = 4,
) -> tuple[Schedules, tuple[int, ...]]:
    """Return the charter's `schedules` (`pull`, `gamma`, `tau`) and `hysteresis`, an entry per round.

    Args:
        rounds: Length of the tables, at most 1024; the last value stays.
        decay: Rounds in which plasticity falls to a third.
        period: Rounds of one swing of the pendulum.
        swing: Depth of the swings, 0 to 1.
        least: Plasticity that never goes.
        gamma_least: Least share of the new mean in a group's model.
        bonus: Hysteresis when all plasticity has gone, as a share of a distance; 0 to .3.
        longest: Rounds, less one, that a tree is kept for when all plasticity has gone.

    Raises:
        ConfigError: A value is out of range.
    """
    for name, value, low, high in (
        ("rounds", rounds, 1, TABLE_MAX),
        ("decay", decay, 1e-3, math.inf),
        ("period", period, 1e-3, math.inf),
        ("swing", swing, 0, 1),
        ("least", least, 0, 1),
        ("gamma_least", gamma_least, 0, 1),
        ("bonus", bonus, 0, 0.3),
        ("longest", longest, 0, 254),
    ):
        if not low <= value <= high:
            raise ConfigError(f"plasticity: {name} = {value}: from {low:g} to {high:g}")
    plastic = [
        plasticity(tick, decay=decay, period=period, swing=swing, least=least) for tick in range(rounds)
    ]
    schedules = {
        "gamma": tuple(round(max(gamma_least, p), 6) for p in plastic),
        "pull": tuple(round(1.0 - p, 6) for p in plastic),
        "tau": tuple(float(1 + math.floor(longest * (1.0 - p))) for p in plastic),
    }
    return schedules, tuple(round(256 * bonus * (1.0 - p)) for p in plastic)
