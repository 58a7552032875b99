"""`swarmdem torment` between the command line and the run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option, echo

from swarmdem.apps import flags
from swarmdem.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swarmdem.apps.torment.settings import TormentSettings

_DEFAULTS = {"peers": 20, "rounds": 60, "patience": 8.0, "evaluate_last": 10}
_NOT_OURS = {"workers", "record", "broker", "vectorise", "cells"}
_TAKEN = tuple(name for name in flags.SETTINGS if name not in _NOT_OURS)


@flags.takes(*_TAKEN, **_DEFAULTS)
def torment(
    *,
    brokers: Annotated[int, flags.whole("--brokers", "Brokers, each a process.")] = 3,
    broker: Annotated[
        str, Option("--broker", help="Their kind: auto, mosquitto, nats or embedded.")
    ] = "auto",
    kills: Annotated[
        bool, Option("--kills/--no-kills", help="Every round kill an aggregator and restart it.")
    ] = True,
    stops: Annotated[
        bool, Option("--stops/--no-stops", help="Every fourth round stop a peer (SIGSTOP) for a while.")
    ] = True,
    links: Annotated[
        bool, Option("--links/--no-links", help="Every third round slow, break or damage a link.")
    ] = True,
    broker_every: Annotated[
        int, flags.whole("--broker-every", "Rounds between two brokers killed or stopped; 0: never.")
    ] = 5,
    partitions: Annotated[int, flags.whole("--partitions", "How often the swarm is split in two.")] = 2,
    replace: Annotated[
        float, flags.number("--replace", "Share of the peers whose devices get a new peer.")
    ] = 0.3,
    compare: Annotated[
        list[Path] | None, Option("--compare", metavar="RUN", help="An undisturbed run; repeat for more.")
    ] = None,
    check: Annotated[
        Path | None, Option("--check", metavar="DIR", help="Only check the history of an earlier run.")
    ] = None,
    out: Annotated[
        Path | None, Option("--out", help="Run folder to write (default: runs/torment-DATE).")
    ] = None,
    **values: Any,
) -> int:
    """Torment a swarm of real processes over real brokers.

    Kills, stops, partitions, broken brokers and links from a seed; then its history is checked. Exit code
    1 when an invariant is broken.
    """
    from swarmdem.apps.settings import SwarmSettings
    from swarmdem.apps.torment.conclusion import conclude
    from swarmdem.apps.torment.settings import TormentSettings

    if check is not None:
        if out is not None:
            raise ConfigError("--out: --check writes to the folder it checks")
        return conclude(check, compare or (), echo)
    swarm = SwarmSettings(broker=broker, **flags.settings_of(values))
    settings = TormentSettings(
        swarm=swarm, brokers=brokers, kills=kills, stops=stops, links=links, broker_every=broker_every,
        partitions=partitions, replace=replace,
    )  # fmt: skip
    return _run_and_judge(settings, out, compare or ())


def _run_and_judge(settings: "TormentSettings", out: Path | None, compare: "Sequence[Path]") -> int:
    import asyncio
    from datetime import datetime

    from swarmdem.apps.torment.conclusion import check_runs, conclude
    from swarmdem.apps.torment.history import FILE
    from swarmdem.apps.torment.running import torment as run_torment

    check_runs(compare)
    folder = out or Path("runs") / f"torment-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        asyncio.run(run_torment(settings, folder, echo))
    except KeyboardInterrupt:
        if (folder / FILE).exists():
            echo(f"stopped; {folder / FILE} holds what happened: swarmdem torment --check {folder} judges it")
        raise
    return conclude(folder, compare, echo)
