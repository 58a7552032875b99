"""The command: which settings it takes, in which order it looks, and what it prints."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from swarmdem.apps import flags
from swarmdem.apps.peer_flags import chosen, takes_peer


@takes_peer
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="The peer's TOML file; flags and SWARMDEM_* win over it.")
    ] = None,
    wait: Annotated[float, flags.number("--wait", "Seconds to wait for each answer.", least=0.1)] = 5.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is not well.")] = False,
    **values: Any,
) -> int:
    """Look a deployment over and name the fix.

    It takes the flags of `swarmdem peer`: broker, rights, limits, charter, key, state folder, clock, data
    and memory, as that peer would meet them.
    Exit code 0: a peer would work; 1: something would stop it; 3: nothing found, but not all was looked at.
    """
    import asyncio
    import os

    from swarmdem.apps.doctor.report import Verdict, as_json, conclusion, exit_code

    lines = asyncio.run(_look(config, chosen(values), dict(os.environ), wait))
    if json:
        typer.echo(as_json(lines))
        return exit_code(lines)
    shown = [line for line in lines if not (quiet and line.verdict is Verdict.OK)]
    if shown or not quiet:
        typer.echo("\n".join([*map(str, shown), conclusion(lines)]))
    return exit_code(lines)


async def _look(
    config: Path | None, given: dict[str, dict[str, Any]], environment: dict[str, str], wait_s: float
) -> "list[Any]":
    from swarmdem.apps.doctor import local
    from swarmdem.apps.doctor.broker import Patient, broker_lines
    from swarmdem.apps.doctor.report import fail, skip
    from swarmdem.apps.peer import MDNS
    from swarmdem.config import Settings, load_settings
    from swarmdem.errors import ConfigError, StoreError
    from swarmdem.node.keys import read_key
    from swarmdem.node.store import KEY_FILE
    from swarmdem.wire.charter import Charter
    from swarmdem.wire.signing import Identity

    lines = []
    try:
        settings = load_settings(config, environment=environment, chosen=given)
    except ConfigError as error:
        lines.append(fail("settings", str(error), "correct this; what follows goes by the other flags alone"))
        without = {**given, "peer": {**given["peer"], "charter": None}}
        try:
            settings = load_settings(chosen=without)
        except ConfigError:
            settings = Settings()
    lines += [] if settings.charter is None and lines else local.charter_lines(settings.charter)
    lines += local.cells_lines(settings)
    found, schema = local.data_lines(settings.learner, settings.charter)
    lines += [*local.state_lines(settings.peer.state, schema), *local.journal_lines(settings.peer.journal)]
    lines += [*local.clock_lines(), *found]
    lines += local.machine_lines(settings.learner, schema)
    me = Identity.generate().peer
    if settings.peer.state is not None:
        with contextlib.suppress(StoreError):  # told above
            me = read_key(settings.peer.state / KEY_FILE).peer  # topic rights go by it
    urls = dict.fromkeys([*settings.peer.brokers, *([MDNS] if settings.peer.discover else [])])
    if settings.peer.host_broker is not None:
        what = "whether the broker that this peer hosts starts, and others reach it, is not known"
        lines.append(skip("hosted broker", what, "give its URL as --broker while the peer runs"))
    elif not urls:
        what = "none is given: whether one is reached and carries what peers say is not known"
        lines.append(skip("broker", what, "give --broker mqtt://host"))
    for url in urls:
        known = settings.charter is not None
        charter = settings.charter or Charter(swarm="doctor")
        patient = Patient(url, settings.tls, me, charter, known, wait_s)
        lines += await broker_lines(patient)
    return lines
