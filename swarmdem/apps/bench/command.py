"""`swarmdem bench`: one command for each thing that is measured."""

from pathlib import Path
from typing import Annotated

import typer

from swarmdem.apps import flags
from swarmdem.apps.settings import SwarmSettings

bench = typer.Typer(
    name="bench",
    help="Measure what things cost on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@bench.callback()
def _top() -> None:
    pass


@bench.command()
def transfer(
    broker: Annotated[
        str, typer.Option("--broker", help="auto, mosquitto, nats, embedded, or mqtt://host[:port].")
    ] = "auto",
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="MB,MB,...", help="Lengths of the models.")
    ] = "3.3,50,500",
    chunk: Annotated[
        int, flags.whole("--chunk", "The charter's: largest chunk in bytes.", least=65_536, most=2**24)
    ] = 2**20,
    repeat: Annotated[int, flags.whole("--repeat", "Transfers of each size; medians count.", least=1)] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write (default: none).")] = None,
) -> None:
    """Move models from one peer to another, and hold that against a bare aiomqtt pair.

    Each end is a process. Beside the rate: peak memory, how long control messages take meanwhile, and what
    a connection costs that is cut at half.
    """
    import asyncio

    from swarmdem.apps.bench.transfer import read_sizes, run

    asyncio.run(run(broker, read_sizes(sizes), chunk=chunk, repeat=repeat, out=out))


@bench.command()
def control(
    *,
    peers: Annotated[
        str, typer.Option("--peers", metavar="N,N,...", help="Sizes of the swarms.")
    ] = "10,50,200,1000",
    rounds: Annotated[int, flags.whole("--rounds", "That are counted, after the first.", least=1)] = 10,
    tau: Annotated[int, flags.whole("--tau", "Rounds that keep a tree.", least=1, most=255)] = 5,
    patience: Annotated[float, flags.number("--patience", "The charter's, in seconds.")] = 30.0,
    real: Annotated[int, flags.whole("--real", "Up to so many peers run over a broker.")] = 50,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write (default: none).")] = None,
) -> None:
    """Count what a swarm says in order to agree, by kind, and hold it against a budget.

    Small swarms run over a broker, larger ones in virtual time. Exit code 1 when the budget is not kept.
    """
    from swarmdem.apps.bench.control import run
    from swarmdem.apps.bench.tables import PEERS_MAX, read_numbers

    sizes = read_numbers("--peers", peers, least=2, most=PEERS_MAX)
    lines = run(sizes, rounds=rounds, tau=tau, patience=patience, real=real, out=out)
    held = True
    for line in lines:
        typer.echo(line)
        held = held and not line.startswith("over the budget")
    if not held:
        raise typer.Exit(1)


_DATA = typer.Option("--data", help="digits (packaged), an .npz or a folder of IDX files, as of `swarm`.")
_MODEL = typer.Option("--model", help="mlp, cnn, softmax or module:function.")
_KIND = typer.Option("--broker", help="auto, mosquitto, nats or embedded: started for each swarm.")
_WORKERS = flags.whole("--workers", "Processes that host the peers (default: cores).", least=1)
_OUT = typer.Option("--out", help="JSON file to write (default: none).")


@bench.command(name="round")
def round_(
    *,
    peers: Annotated[
        str, typer.Option("--peers", metavar="N,N,...", help="Sizes of the swarms.")
    ] = "10,20,50",
    rounds: Annotated[int, flags.whole("--rounds", "Of each; the first two do not count.", least=3)] = 12,
    data: Annotated[str, _DATA] = "digits",
    model: Annotated[str, _MODEL] = "mlp",
    optimizer: Annotated[str, typer.Option("--optimizer", help="sgd or adam.")] = "adam",
    levels: Annotated[int, flags.whole("--levels", "Of groups below the root.", least=0)] = 3,
    tau: Annotated[int, flags.whole("--tau", "Rounds that keep a tree.", least=1, most=255)] = 1,
    broker: Annotated[str, _KIND] = "auto",
    workers: Annotated[int | None, _WORKERS] = None,
    launches: Annotated[int, flags.whole("--launches", "Of single peers; 0: none.", least=0)] = 5,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Measure what a round costs beside training, next to a bare loop that only trains and averages.

    Then how soon a single peer is ready, and what memory it holds.
    """
    import asyncio

    from swarmdem.apps.bench.round import run
    from swarmdem.apps.bench.tables import PEERS_MAX, read_numbers

    base = SwarmSettings(
        data=data, model=model, optimizer=optimizer, levels=levels, tau=tau, rounds=rounds,
        evaluate_every=rounds, broker=broker, workers=workers,
    )  # fmt: skip
    asyncio.run(
        run(read_numbers("--peers", peers, least=1, most=PEERS_MAX), base, out=out, launches=launches)
    )


@bench.command()
def scale(
    *,
    peers: Annotated[
        str, typer.Option("--peers", metavar="N,N,...", help="Sizes of the swarms.")
    ] = "20,200,1000",
    rounds: Annotated[int, flags.whole("--rounds", "Of each; the first two do not count.", least=3)] = 5,
    data: Annotated[str, _DATA] = "digits",
    model: Annotated[str, _MODEL] = "mlp",
    optimizer: Annotated[str, typer.Option("--optimizer", help="sgd or adam.")] = "adam",
    tau: Annotated[int, flags.whole("--tau", "Rounds that keep a tree.", least=1, most=255)] = 5,
    broker: Annotated[str, _KIND] = "auto",
    workers: Annotated[int | None, _WORKERS] = None,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Run swarms of real processes over a broker, and say how their cost grows with the peers."""
    import asyncio

    from swarmdem.apps.bench.scale import run
    from swarmdem.apps.bench.tables import PEERS_MAX, read_numbers

    base = SwarmSettings(
        data=data, model=model, optimizer=optimizer, tau=tau, rounds=rounds, evaluate_every=rounds,
        broker=broker, workers=workers,
    )  # fmt: skip
    told = asyncio.run(run(read_numbers("--peers", peers, least=1, most=PEERS_MAX), base, out=out))
    if any(row["certified"] < row["rounds"] for row in told["rows"]):
        raise typer.Exit(1)
