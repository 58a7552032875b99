"""The flags of the command line, each declared once; help names the paper's symbol.

`SETTINGS` holds the flags that are settings of a run, by the setting's name; `takes` gives some of
them to a command, which receives their values as keywords.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from typer import Option

from swarmdem.apps import choices
from swarmdem.apps.choices import whole_numbers
from swarmdem.apps.settings import SwarmSettings
from swarmdem.errors import ConfigError

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _text(flag: str, help: str) -> Any:
    return Annotated[str, Option(flag, help=help)]


def _maybe_text(flag: str, help: str) -> Any:
    return Annotated[str | None, Option(flag, help=help)]


def read_by(flag: str, parser: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return *parser* with its complaints told as mistakes in *flag*."""

    def read(text: str) -> Any:
        try:
            return parser(text)
        except ValueError as error:
            raise ConfigError(f"{flag} {text}: {error}") from error

    return read


def whole(flag: str, help: str, *, least: int | None = None, most: int | None = None) -> Any:
    """Return an option that is a whole number, whose mistakes are told in our own words."""
    parser = partial(choices.whole_number, least=least, most=most)
    return Option(flag, parser=read_by(flag, parser), metavar="INTEGER", help=help)


def number(flag: str, help: str, *, least: float | None = None) -> Any:
    """Return an option that is a number, whose mistakes are told in our own words."""
    parser = partial(choices.number, least=least)
    return Option(flag, parser=read_by(flag, parser), metavar="FLOAT", help=help)


def cell_limit(text: str) -> int | None:
    """Return the most peers of a cell; None for 0, a flat swarm.

    Raises:
        ValueError: *text* is no whole number.
    """
    return choices.whole_number(text) or None


def _whole(flag: str, help: str) -> Any:
    return Annotated[int, whole(flag, help)]


def _maybe_whole(flag: str, help: str) -> Any:
    return Annotated[int | None, whole(flag, help)]


def _number(flag: str, help: str) -> Any:
    return Annotated[float | None, number(flag, help)]


def _parsed(flag: str, parser: Callable[[str], Any], shown: str, help: str) -> Any:
    return Annotated[Any, Option(flag, parser=read_by(flag, parser), metavar=shown, help=help)]


def _repeated(flag: str, parser: Callable[[str], Any], shown: str, help: str) -> Any:
    read = read_by(flag, parser)
    return Annotated[list[Any] | None, Option(flag, parser=read, metavar=shown, help=help)]


UPDATE = {
    "strategy": _text("--strategy", "demlearn, fedavg, ... (README, Strategies) or module:Class."),
    "levels": _maybe_whole("--levels", "Levels of groups below the root: the paper's K - 1."),
    "mixing": _number("--mixing", "alpha of eq. 10: share of the parent group's model."),
    "pull": _number("--pull", "mu of eq. 8: weight of the pull towards the parent's model."),
    "pull_to": _maybe_text("--pull-to", "parent, or all: every group above, by 1/N (Dem-AI eq. 2)."),
    "start": _maybe_text("--start", "w(0) of local training: own (authors' code) or group (Algorithm 1)."),
    "weights": _maybe_text("--weights", "N_i of eq. 9: agents (1 each) or samples."),
    "cut": _maybe_text("--cut", "From dendrogram to levels: binary (authors' code), threshold or maxclust."),
    "cuts": _parsed(
        "--cuts", choices.numbers, "8,4,2", "By level from 1: groups (maxclust) or heights (threshold)."
    ),
    "linkage": _maybe_text("--linkage", "Distance of groups: average (the paper's) or ward."),
    "metric": _maybe_text("--metric", "Distance of peers: euclidean, cosine (of w) or cosine_delta."),
    "grouping": _maybe_text("--grouping", "similar, or complementary: models that make up the whole."),
    "basis": _maybe_text("--basis", "What peers are compared by: parameters or updates."),
    "min_size": _maybe_whole("--min-size", "Groups of fewer peers are absorbed by the nearest."),
    "newcomers": _maybe_text("--newcomers", "direct, or top: a new peer descends one level a round."),
    "outliers": _maybe_whole("--outliers", "Rounds after which a far peer is set apart; 0: never."),
    "drift": _maybe_whole("--drift", "Rounds of a risen loss that make the swarm plastic again; 0: never."),
    "neighbours": _maybe_whole("--neighbours", "gossip: peers each one averages with; even."),
    "tau": _maybe_whole("--tau", "Rounds a tree is kept for."),
    "hysteresis": _parsed(
        "--hysteresis", whole_numbers, "26", "Bonus of members who stay, in 1/256; one or by round."
    ),
    "schedules": _repeated(
        "--schedule", choices.schedule, "NAME=V1,V2,...",
        "own, pull, mixing, gamma, gain or tau by round; the last value stays; repeat for more.",
    ),
    "plasticity": _maybe_text("--plasticity", "dem-ai: schedules from plasticity to stability."),
    "agreement": _maybe_text("--agreement", "available, or bft: two thirds decide, and nobody without them."),
    "codec": _maybe_text("--codec", "Models sent: raw, fp16, int8, topk, or a budget of bytes per model."),
    "private": _repeated("--private", str, "PATTERN", "Arrays that stay with each peer; repeat for more."),
    "options": _repeated("--option", choices.option, "NAME=VALUE", "A setting of the strategy; repeat."),
}  # fmt: skip
"""What all peers must agree on about the update."""

SPLIT = {
    "devices": _maybe_whole(
        "--devices", "Split digits or IDX files over so many devices (default: peers; 10 without them)."
    ),
    "labels_per_device": _maybe_whole("--labels-per-device", "Labels a device holds of IDX files (2)."),
    "split_seed": _maybe_whole("--split-seed", "Seed of the split of IDX files (0)."),
    "holdout": _number("--holdout", "Tune: test on this share of the training parts, test parts unread."),
    "holdout_seed": _maybe_whole("--holdout-seed", "Seed of --holdout (7)."),
}
"""Which device holds what, and what is tested on."""

INPUT = {
    "data": _text("--data", "digits (packaged), an .npz with x, y, device, train, or a folder of IDX files."),
    **SPLIT,
    "model": _text("--model", "w: mlp, cnn (the paper's), softmax (no torch) or module:function."),
    "standardize": _text("--standardize", "Inputs x: global, pixel (the authors' way) or none."),
    "digest_size": _whole("--digest-size", "Buckets of the sketch that peers are grouped by."),
}
"""What is learned, on what."""

RUN = {
    "peers": _whole(
        "--peers",
        "N: peers on this machine; peer i trains on device i of the data (from 0 again beyond the last).",
    ),
    "optimizer": _text("--optimizer", "sgd (the paper's) or adam."),
    "lr": _number("--lr", "eta: step size of local training (default: sgd .05, adam .001)."),
    "epochs": _whole("--epochs", "E: local epochs a round."),
    "batch_size": _whole("--batch-size", "B: samples a step."),
    "rounds": _whole("--rounds", "T: rounds to run."),
    "seed": _whole("--seed", "Seeds the first model, the order of batches and the peers' keys."),
    "broker": _repeated(
        "--broker",
        str,
        "KIND|URL",
        "auto, embedded, memory, mosquitto, nats (started on a free port) or a URL; repeat for more brokers.",
    ),
    "device": _text("--device", "Where models train: auto, cpu or cuda."),
    "vectorise": _text("--vectorise", "Peers of one process train in one pass: auto (if faster), on or off."),
    "workers": _maybe_whole("--workers", "Processes that host the peers (default: cores)."),
    "evaluate_every": _whole("--evaluate-every", "Rounds between evaluations of C-SPE, C-GEN, Global."),
    "evaluate_last": _whole("--evaluate-last", "Evaluate each of the last rounds as well."),
    "evaluate": _text("--evaluate", "update: after the update; both: also after training."),
    "cells": _parsed(
        "--cells",
        cell_limit,
        "INTEGER",
        "Most peers of a cell (4 to 256): for hundreds of peers and more; 0: one flat swarm.",
    ),
    "patience": _number(
        "--patience", "Seconds of silence before others act (default: 10 + .5 a peer, .2 from the 100th)."
    ),
    "record": Annotated[
        bool, Option("--record", help="Keep every model of every round, to recompute the run.")
    ],
}
"""How a run on one machine goes."""

SETTINGS: dict[str, Any] = {**RUN, **INPUT, **UPDATE}

Seeds = Annotated[
    Any,
    Option(
        "--seeds", parser=read_by("--seeds", whole_numbers), metavar="0,1,2", help="Instead of the file's."
    ),
]
StepSize = Annotated[
    float | None, number("--lr", "eta: step size of local training (default: sgd .05, adam .001).")
]
Resume = Annotated[Path | None, Option("--resume", help="Go on with the run in this folder.")]
Out = Annotated[Path | None, Option("--out", help="Run folder to write (default: runs/SWARM-DATE).")]


def takes(*names: str, **defaults: Any) -> Callable[[_Command], _Command]:
    """Give a command the flags of these settings, after its own; it takes their values as `**values`.

    Args:
        names: Keys of `SETTINGS`.
        defaults: Where they differ from those of `SwarmSettings`.
    """
    usual = SwarmSettings().as_mapping() | {"broker": list(SwarmSettings().all_brokers)} | defaults
    return adds({name: (SETTINGS[name], usual[name]) for name in names})


def adds(flags: Mapping[str, tuple[Any, Any]]) -> Callable[[_Command], _Command]:
    """Give a command these flags, by name (annotation, default), after its own, as `takes` does."""

    def change(command: _Command) -> _Command:
        signature = inspect.signature(command)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in flags.items()
        ]
        command.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        return command

    return change


def settings_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return a command's values as settings: flags that may be repeated as tables or tuples.

    Raises:
        ConfigError: A flag names the same thing twice.
    """
    tables = {
        name: choices.once(flag, values.get(name))
        for name, flag in (("schedules", "--schedule"), ("options", "--option"))
        if name in values
    }
    several = tuple(values.get("broker") or ())
    brokers = {"broker": several if len(several) > 1 else several[0]} if several else {}
    private = {"private": tuple(values["private"])} if values.get("private") else {"private": None}
    return values | tables | brokers | (private if "private" in values else {})
