"""The command line: parses, calls, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 1 a broken promise (a simulated invariant, training that fails everywhere, a bug
of ours), 2 a mistake in a setting, file or address, 130 Ctrl-C. Heavy modules are imported by the
command that needs them, so that `--help` answers at once.
"""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from swarmdem import __version__
from swarmdem.apps import flags
from swarmdem.apps.bench.command import bench
from swarmdem.apps.doctor.command import doctor
from swarmdem.apps.peer_flags import chosen, takes_peer
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.torment.command import torment
from swarmdem.errors import ConfigError, NoTrainingError, SwarmError

app = typer.Typer(
    name="swarmdem",
    help="Devices that hold private data learn together over MQTT, with no central server.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help answers in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench)
_MAY_CHANGE = {"rounds", "broker", "workers", "device", "vectorise"}
"""Settings a resumed run may be given anew; all others stay as they were."""
INTERRUPTED = 130
"""Exit code of Ctrl-C."""
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line; what users get wrong ends in one line on standard error."""
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    try:
        code = app(standalone_mode=False)
    except NoTrainingError as error:
        _leave(str(error), 1)
    except SwarmError as error:
        _leave(str(error), 2)
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(str(error), err=True)
            sys.exit(2)
        _leave(_usage(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        _leave("stopped", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    if code == INTERRUPTED:  # what newer releases of typer return for Ctrl-C instead of raising
        _leave("stopped", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _leave(message: str, code: int) -> None:
    typer.echo(f"swarmdem: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _usage(error: Exception) -> str:
    context: Any = getattr(error, "ctx", None)
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{message} (see {context.command_path} --help)" if context else message


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"swarmdem {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
@flags.takes("peers", "rounds", rounds=30)
def demo(
    out: Annotated[Path | None, typer.Option("--out", help="Run folder to write (default: none).")] = None,
    **values: Any,
) -> None:
    """Watch a dozen peers learn together.

    Real sockets, bundled data, a live table: nothing to set up.
    """
    from swarmdem.apps.demo import run_demo

    run_demo(**values, out=out)


@app.command()
@flags.takes(*flags.SETTINGS)
def swarm(
    context: typer.Context,
    resume: flags.Resume = None,
    out: flags.Out = None,
    **values: Any,
) -> None:
    """Run N peers on this machine.

    On any data set, strategy and broker; writes a run folder (README, "The run folder").
    """
    from swarmdem.apps.swarm_command import resume_run, start_run

    settings = flags.settings_of(values)
    if resume is None:
        start_run(SwarmSettings(**settings), out)
        return
    given = _given(context) - {"resume"}
    if fixed := sorted(given - _MAY_CHANGE):
        raise ConfigError(f"--{fixed[0].replace('_', '-')}: cannot be changed with --resume")
    resume_run(resume, {name: settings[name] for name in sorted(given)})


def _given(context: typer.Context) -> set[str]:
    """Return the parameters that the command line names."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


@app.command()
@takes_peer
def peer(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file; flags and SWARMDEM_* win over it.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what goes wrong.")] = False,
    **values: Any,
) -> None:
    """Run one peer of a real swarm.

    Until Ctrl-C; started again with the same --state it comes back as the same peer with its model.
    """
    import asyncio
    import os

    from swarmdem.apps.peer import run_peer
    from swarmdem.config import load_settings

    settings = load_settings(config, environment=os.environ, chosen=chosen(values))
    asyncio.run(run_peer(settings, _say, quiet=quiet))


def _say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()


@app.command()
def broker(
    kind: Annotated[str, typer.Option("--kind", help="auto, mosquitto, nats or embedded.")] = "auto",
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0: all.")] = "127.0.0.1",
    port: Annotated[int, flags.whole("--port", "TCP port; 0: a free one.", least=0, most=65535)] = 1883,
    swarm: Annotated[
        str | None, typer.Option("--swarm", help="Announce it to peers of this swarm by mDNS.")
    ] = None,
) -> None:
    """Run a broker.

    mosquitto if installed, else nats-server if installed, else the embedded one.
    """
    import asyncio

    from swarmdem.apps.broker import run_broker

    asyncio.run(run_broker(kind, host, port, swarm=swarm, say=_say))


app.command()(doctor)


@app.command()
def keygen(
    path: Annotated[Path, typer.Argument(help="A .pem file to be, or a peer's state folder.")],
    show: Annotated[bool, typer.Option("--show", help="Only print the id of the key that is there.")] = False,
) -> None:
    """Make an identity.

    A private key in a file only its owner may read, and the peer id it stands for.
    """
    from swarmdem.apps.keygen import describe_key, make_key
    from swarmdem.identifiers import text

    if show:
        typer.echo(describe_key(path))
        return
    where, peer = make_key(path)
    typer.echo(f"{text(peer)}  {where}")


@app.command()
@flags.takes(*flags.INPUT, *flags.UPDATE, "cells", "patience", patience=8.0)
def charter(
    path: Annotated[Path, typer.Argument(help="File to write, charter.toml for example.")],
    swarm: Annotated[str, typer.Option("--swarm", help="Name of the swarm: where peers find each other.")],
    founders: Annotated[int, flags.whole("--founders", "Peers whose presence starts the swarm.")] = 2,
    **values: Any,
) -> None:
    """Write the charter of a new swarm.

    What all its peers must agree on; give every peer the same file.
    """
    from swarmdem.apps.charter import write_charter
    from swarmdem.identifiers import text
    from swarmdem.protocol.cells.charters import limit_of, patterns_between_sites
    from swarmdem.wire.charter import charter_hash

    if founders < 1:
        raise ConfigError(f"--founders {founders}: must be at least 1")
    settings = SwarmSettings(swarm=swarm, peers=founders, **flags.settings_of(values))
    written = write_charter(settings, path, founders=founders)
    typer.echo(f"{path}  swarm {swarm}, charter {text(charter_hash(written))}")
    if limit_of(written):
        typer.echo("between the brokers of different sites (docs/cells.md):")
        for pattern in patterns_between_sites(written):
            typer.echo(f"topic {pattern} both 1")


@app.command()
def experiment(
    what: Annotated[
        str | None, typer.Argument(metavar="FILE.toml|PRESET", help="What to run; presets: --list.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write and go on with (default: experiments/NAME).")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", envvar="SWARMDEM_DATA_DIR", help="Where data files are.")
    ] = None,
    curves: Annotated[
        Path | None, typer.Option("--curves", help="Published curves to draw along: a CSV file.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="This variant alone; repeat for more.")
    ] = None,
    seeds: flags.Seeds = None,
    rounds: Annotated[int | None, flags.whole("--rounds", "Instead of the file's.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SETTING=VALUE", help="For every variant, as in the file; repeat."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the presets.")] = False,
) -> None:
    """Compare strategies and settings on one data set.

    One swarm run per variant and seed, then a table and figures; the same command goes on after a stop.
    """
    if list_:
        from swarmdem.apps.experiment_file import presets

        for name, about in presets().items():
            typer.echo(f"{name:<16} {about}")
        return
    if what is None:
        raise ConfigError("experiment: a .toml file or a preset is needed; --list shows the presets")
    from swarmdem.apps.experiment import run_experiment
    from swarmdem.apps.experiment_file import changed

    run_experiment(
        what, out=out, data_dir=data_dir, curves=curves, only=only or (), seeds=seeds, rounds=rounds,
        changes=changed(change or ()),
    )  # fmt: skip


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or an experiment's.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write (default: report.html in the folder).")
    ] = None,
    curves: Annotated[
        Path | None, typer.Option("--curves", help="Published curves to draw along: a CSV file.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
) -> None:
    """Write one HTML page about a run or an experiment.

    Curves, the tree over time, peers, aggregators, bytes, failures; the page needs no network.
    """
    from swarmdem.apps.report.command import write_report

    typer.echo(str(write_report(folder, out, curves=curves, show=open_)))


@app.command()
def simulate(
    context: typer.Context,
    peers: Annotated[int, flags.whole("--peers", "N: peers of each simulated swarm.")] = 20,
    rounds: Annotated[int, flags.whole("--rounds", "Rounds every live peer must reach.")] = 30,
    seeds: Annotated[int, flags.whole("--seeds", "How many seeds, counted from --seed.")] = 200,
    seed: Annotated[int, flags.whole("--seed", "The first seed.")] = 0,
    faults: Annotated[bool, typer.Option("--faults/--no-faults", help="Draw faults from each seed.")] = True,
    levels: Annotated[int, flags.whole("--levels", "Levels of groups below the root.")] = 3,
    patience: Annotated[float, flags.number("--patience", "The charter's, in seconds.")] = 8.0,
    loss: Annotated[
        float | None, flags.number("--loss", "Share of frames lost (default: drawn from the seed).")
    ] = None,
    forks: Annotated[
        bool, typer.Option("--forks/--no-forks", help="Draw splits long enough to fork a swarm, too.")
    ] = True,
    plain: Annotated[
        bool, typer.Option("--plain", help="The charter's defaults instead of settings drawn from each seed.")
    ] = False,
    brokers: Annotated[
        int | None, flags.whole("--brokers", "Relays (default: 1 to 3, drawn from the seed).")
    ] = None,
    liars: Annotated[
        bool, typer.Option("--liars", help="Also draw peers that lie, fewer than a third.")
    ] = False,
    agreement: Annotated[
        str, typer.Option("--agreement", help="available: half decides; bft: two thirds.")
    ] = "available",
    cells: Annotated[int, flags.whole("--cells", "Most peers of a cell (default 0: a flat swarm).")] = 0,
    crowd: Annotated[
        int, flags.whole("--crowd", "Above how many electors few collect for all (0: drawn; --plain: 64).")
    ] = 0,
    workers: Annotated[int, flags.whole("--workers", "Processes.")] = 2,
    trace: Annotated[Path | None, typer.Option("--trace", help="File for the first seed's trace.")] = None,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Reduce the first broken run to a small schedule; print it.")
    ] = False,
    schedule: Annotated[
        Path | None, typer.Option("--schedule", help="Play this schedule (JSON) instead of seeds.")
    ] = None,
) -> int:
    """Torment the protocol in virtual time.

    Seeded faults, every invariant checked after every event; exit code 1 when one is broken.
    """
    from swarmdem.apps.simulate import replay, run
    from swarmdem.simulation.runs import Settings

    if schedule is not None:
        if idle := sorted(_given(context) - {"schedule", "trace", "shrink"}):
            raise ConfigError(f"--{idle[0]}: changes nothing with --schedule, which says what is played")
        return replay(schedule, trace=trace, shrink=shrink).exit_code
    first = Settings(
        seed=seed, peers=peers, rounds=rounds, faults=faults, levels=levels, patience=patience, loss=loss,
        forks=forks, vary=not plain, brokers=brokers, liars=liars, agreement=agreement,
        cells=cells, crowd=crowd,
    )  # fmt: skip
    return run(first, seeds=seeds, workers=workers, trace=trace, shrink=shrink).exit_code


app.command()(torment)
