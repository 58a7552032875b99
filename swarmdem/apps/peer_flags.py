"""The flags of one peer, for whoever takes them: `swarmdem peer` runs it, `swarmdem doctor` looks it over."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from typer import Option

from swarmdem.apps import flags

_Command = TypeVar("_Command", bound=Callable[..., Any])

_PEER: dict[str, Any] = {
    "charter": Annotated[Path | None, Option("--charter", help="What all peers agree on.")],
    "broker": Annotated[
        list[str] | None,
        Option("--broker", help="mqtt://[user:password@]host[:port]; may be repeated."),
    ],
    "host_broker": Annotated[
        str | None,
        Option("--host-broker", metavar="URL|auto", help="Run one for the swarm; announce it so."),
    ],
    "discover": Annotated[
        bool | None, Option("--discover", help="Find brokers on the local network (mDNS).")
    ],
    "state": Annotated[Path | None, Option("--state", help="Folder for key, checkpoints, records.")],
    "journal": Annotated[Path | None, Option("--journal", help="File for events as JSON lines.")],
    "rounds": Annotated[int | None, flags.whole("--rounds", "Stop after this round.")],
    "pause": Annotated[
        float | None,
        flags.number(
            "--pause",
            "Seconds of rest after a round it applied; others wait for up to patience.",
            least=0.0,
        ),
    ],
    "capability": Annotated[
        int | None,
        flags.whole(
            "--capability", "How gladly it leads groups: 0 spare it, 1 ordinary, to 3.", least=0, most=3
        ),
    ],
    "site": Annotated[str | None, Option("--site", help="In cells: share one only with peers of this site.")],
}
_LEARNER: dict[str, Any] = {
    "data": Annotated[str | None, Option("--data", help="An .npz, a folder of IDX files, or digits.")],
    "part": Annotated[int | None, flags.whole("--part", "Which device of the data this peer is.")],
    "model": Annotated[str | None, Option("--model", help="mlp, cnn, softmax or module:function.")],
    "optimizer": Annotated[str | None, Option("--optimizer", help="sgd or adam.")],
    "lr": flags.StepSize,
    "epochs": Annotated[int | None, flags.whole("--epochs", "E: local epochs a round.")],
    "batch_size": Annotated[int | None, flags.whole("--batch-size", "B: samples a step.")],
    "device": Annotated[str | None, Option("--device", help="auto, cpu or cuda.")],
    **flags.SPLIT,
}


def takes_peer(command: _Command) -> _Command:
    """Give a command all flags of a peer, after its own; it takes their values as `**values`."""
    return flags.adds({name: (annotation, None) for name, annotation in {**_PEER, **_LEARNER}.items()})(
        command
    )


def chosen(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the values as sections and keys of a peer's settings; None where nothing was given."""
    of_peer = {name: values[name] for name in _PEER if name != "broker"}
    return {
        "peer": of_peer | {"brokers": values["broker"] or None},
        "learner": {name: values[name] for name in _LEARNER},
    }
