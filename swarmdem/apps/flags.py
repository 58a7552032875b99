"""The flags of the command line, each declared once; help names the paper's symbol."""

from pathlib import Path
from typing import Annotated

from typer import Option

Peers = Annotated[
    int, Option("--peers", help="N: peers on this machine; peer i trains on device i of the data.")
]
Data = Annotated[str, Option("--data", help="digits (packaged), or an .npz with x, y, device, train.")]
Model = Annotated[
    str, Option("--model", help="w: mlp, cnn (the paper's), softmax (no torch) or module:function.")
]
Strategy = Annotated[str, Option("--strategy", help="demlearn or fedavg: settings of one update.")]
Levels = Annotated[
    int | None,
    Option(
        "--levels",
        help="Levels of groups below the root: the paper's K - 1 (default: 3; fedavg: 0).",
    ),
]
Mixing = Annotated[
    float | None,
    Option("--mixing", help="alpha of eq. 10: share of the parent group's model (default: .6; fedavg: 1)."),
]
Pull = Annotated[
    float | None,
    Option(
        "--pull",
        help="mu of eq. 8: weight of the pull towards the parent's model (default: .002; fedavg: 0).",
    ),
]
Start = Annotated[
    str, Option("--start", help="w(0) of local training: own (authors' code) or group (Algorithm 1).")
]
Optimizer = Annotated[str, Option("--optimizer", help="sgd (the paper's) or adam.")]
StepSize = Annotated[
    float | None, Option("--lr", help="eta: step size of local training (default: sgd .05, adam .001).")
]
Epochs = Annotated[int, Option("--epochs", help="E: local epochs a round.")]
BatchSize = Annotated[int, Option("--batch-size", help="B: samples a step.")]
Rounds = Annotated[int, Option("--rounds", help="T: rounds to run.")]
Seed = Annotated[int, Option("--seed", help="Seeds the first model, batches and the data split.")]
Broker = Annotated[
    str,
    Option(
        "--broker",
        help="auto, embedded, memory, mosquitto, nats (started on a free port) or a URL (30 s to connect).",
    ),
]
Device = Annotated[str, Option("--device", help="Where models train: auto, cpu or cuda.")]
Workers = Annotated[int | None, Option("--workers", help="Processes that host the peers (default: cores).")]
EvaluateEvery = Annotated[
    int, Option("--evaluate-every", help="Rounds between evaluations of C-SPE, C-GEN, Global.")
]
Evaluate = Annotated[str, Option("--evaluate", help="update: after the update; both: also after training.")]
Standardize = Annotated[
    str, Option("--standardize", help="Inputs x: global, pixel (the authors' way) or none.")
]
DigestSize = Annotated[int, Option("--digest-size", help="Buckets of the sketch that peers are grouped by.")]
Patience = Annotated[
    float | None, Option("--patience", help="Seconds of silence before others act (default: 10 + peers / 2).")
]
Record = Annotated[bool, Option("--record", help="Keep every model of every round, to recompute the run.")]
Resume = Annotated[Path | None, Option("--resume", help="Go on with the run in this folder.")]
Out = Annotated[Path | None, Option("--out", help="Run folder to write (default: runs/SWARM-DATE).")]
