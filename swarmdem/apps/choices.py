"""What a person may choose of the charter: the settings of the update, the strategy's unless given.

Names are the charter's. None means: whatever the strategy, or else the charter, says. What cannot
work together is told by the charter itself, when it is made.
"""

import importlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from swarmdem.errors import ConfigError
from swarmdem.wire.charter import Charter
from swarmdem.wire.encodings import flaw

PLASTICITIES = ("dem-ai",)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateChoices:
    """How peers are grouped and how their models are averaged, mixed and pulled."""

    strategy: str = "demlearn"
    """A name, or `module:Class`."""
    levels: int | None = None
    """Levels of groups below the root (the paper's K counts the root)."""
    mixing: float | None = None
    """alpha of eq. 10."""
    pull: float | None = None
    """mu of eq. 8."""
    pull_to: str | None = None
    """`parent`, or `all` groups above (Dem-AI eq. 2)."""
    start: str | None = None
    """Where local training starts: `own` or `group`."""
    weights: str | None = None
    """What a peer counts for in eq. 9: `agents` or `samples`."""
    cut: str | None = None
    """`binary`, `threshold` or `maxclust`."""
    cuts: tuple[float, ...] | None = None
    """By level from 1: groups (`maxclust`) or heights (`threshold`); says `levels` as well."""
    linkage: str | None = None
    """`average` or `ward`."""
    metric: str | None = None
    """`euclidean`, `cosine` or `cosine_delta`."""
    grouping: str | None = None
    """`similar` or `complementary`."""
    basis: str | None = None
    """What digests sketch: `parameters` or `updates`."""
    min_size: int | None = None
    """Groups of fewer peers are absorbed."""
    newcomers: str | None = None
    """`direct`, or `top`: new peers descend one level a certificate."""
    outliers: int | None = None
    """Certificates in a row after which a far peer is set apart; 0: never."""
    drift: int | None = None
    """Rounds of a risen loss after which the schedules' clock goes back to half; 0: never."""
    neighbours: int | None = None
    """Degree of the gossip graph."""
    tau: int | None = None
    """Rounds a tree is kept for."""
    hysteresis: tuple[int, ...] | None = None
    """Co-member bonus in 1/256 by the schedules' clock; the last value stays."""
    schedules: dict[str, tuple[float, ...]] | None = None
    """Tables by name, a value per tick of the schedules' clock; the last value stays."""
    plasticity: str | None = None
    """`dem-ai`: schedules and hysteresis from plasticity to stability; `schedules` and `hysteresis` win."""
    agreement: str | None = None
    """`available`, or `bft`: two thirds decide in two phases, and nobody without them."""
    codec: str | None = None
    """`raw`, `fp16`, `int8`, `topk`, or a budget of bytes per model."""
    private: tuple[str, ...] | None = None
    """Patterns of arrays that stay with each peer."""
    options: dict[str, float] | None = None
    """The strategy's own settings by name."""

    def charter_choices(self, rounds: int) -> dict[str, Any]:
        """Return the charter settings that were chosen, by the charter's names.

        Args:
            rounds: Length of the run: what the tables of a plasticity are made for.
        """
        own = {field.name for field in fields(UpdateChoices)} - {"strategy", "plasticity"}
        chosen = {name: getattr(self, name) for name in sorted(own) if getattr(self, name) is not None}
        if self.cuts is not None and self.levels is None:
            chosen["levels"] = len(self.cuts)
        if self.plasticity is not None:
            schedules, hysteresis = _plasticity_tables(rounds)
            chosen["schedules"] = {**schedules, **(self.schedules or {})}
            chosen.setdefault("hysteresis", hysteresis)
        return chosen


def rules(choices: UpdateChoices) -> tuple[tuple[str, bool, str], ...]:
    """Return (setting, whether it can work, what is wanted) for what can be told without a charter."""
    mixing, pull, levels = choices.mixing, choices.pull, choices.levels
    words = _words().items()
    return (
        *((name, getattr(choices, name) in (None, *known), one_of(known)) for name, known in words),
        ("levels", levels is None or 0 <= levels <= 16, "0 to 16"),
        ("codec", choices.codec is None or not flaw(choices.codec), flaw(choices.codec or "")),
        ("mixing", mixing is None or 0.0 <= mixing <= 1.0, "a share between 0 and 1"),
        ("pull", pull is None or (math.isfinite(pull) and pull >= 0.0), "finite and not negative"),
        (
            "plasticity",
            choices.plasticity is None or choices.plasticity in PLASTICITIES,
            one_of(PLASTICITIES),
        ),
    )


@cache
def _words() -> Mapping[str, tuple[str, ...]]:
    """Return the settings of the charter that are one of a few words, with these words."""
    hints = get_type_hints(Charter)
    own = [field.name for field in fields(UpdateChoices) if field.name in hints]
    return {name: get_args(hints[name]) for name in own if get_origin(hints[name]) is Literal}


def one_of(known: Collection[str]) -> str:
    """Return what is wanted of a setting that is one of these words."""
    return f"must be one of {', '.join(known)}"


def whole_number(text: str | int, *, least: int | None = None, most: int | None = None) -> int:
    """Return `20` as a whole number.

    Raises:
        ValueError: It is something else, or out of range; the message says what is wanted.
    """
    try:
        value = int(text)
    except ValueError:
        raise ValueError("a whole number is expected") from None
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"must be at least {least}" if most is None else f"must be {least} to {most}")
    return value


def number(text: str | float, *, least: float | None = None) -> float:
    """Return `.05` as a number.

    Raises:
        ValueError: It is something else, or too small; the message says what is wanted.
    """
    try:
        value = float(text)
    except ValueError:
        raise ValueError("a number is expected") from None
    if least is not None and not value >= least:
        raise ValueError(f"must be at least {least:g}")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """Return `8,4,2` as numbers.

    Raises:
        ValueError: It is something else; the message says what is wanted.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("numbers with commas between them are expected, as in 8,4,2") from None


def whole_numbers(text: str) -> tuple[int, ...]:
    """Return `0,13,26` as whole numbers.

    Raises:
        ValueError: It is something else; the message says what is wanted.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError("whole numbers with commas between them are expected, as in 0,13,26") from None


def schedule(text: str) -> tuple[str, tuple[float, ...]]:
    """Return `mixing=.9,.8` as a name and numbers.

    Raises:
        ValueError: It is something else; the message says what is wanted.
    """
    name, _, values = text.partition("=")
    try:
        return name, numbers(values)
    except ValueError:
        raise ValueError("a name and numbers are expected, as in mixing=.9,.8") from None


def option(text: str) -> tuple[str, float]:
    """Return `lambda=15` as a name and a number.

    Raises:
        ValueError: It is something else; the message says what is wanted.
    """
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ValueError("a name and a number are expected, as in lambda=15") from None


def once(flag: str, pairs: list[tuple[str, Any]] | None) -> dict[str, Any] | None:
    """Return the pairs of a flag that may be repeated as a table, None when it was not given.

    Raises:
        ConfigError: A name was given twice.
    """
    if not pairs:
        return None
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{flag} {twice}: given twice")
    return table


def _plasticity_tables(rounds: int) -> tuple[Mapping[str, tuple[float, ...]], tuple[int, ...]]:
    plasticity = importlib.import_module("swarmdem.learning.plasticity")
    schedules, hysteresis = plasticity.dem_ai_schedules(rounds)
    return dict(schedules), tuple(hysteresis)
