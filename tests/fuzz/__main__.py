"""Fuzz the decoders and the core: `python -m tests.fuzz --target all --executions 100000`."""

import argparse
import contextlib
import multiprocessing
import sys
from pathlib import Path


def main() -> int:
    """Run what the command line says; exit code 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", default="all", help="all; below: what lies below the signature; or one")
    parser.add_argument("--executions", type=int, default=100_000, help="of each target")
    parser.add_argument("--seconds", type=float, default=1e9, help="most for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="list the targets")
    parser.add_argument("--atheris", action="store_true", help="let coverage guide; one target")
    parser.add_argument("--replay", type=Path, help="execute the input in a file that a finding left")
    parser.add_argument("--rebuild", action="store_true", help="make the corpus again from simulated peers")
    chosen = parser.parse_args()
    with _instrumented() if chosen.atheris else contextlib.nullcontext():
        from tests.fuzz import corpus, running
    known = _choices(one=chosen.atheris or chosen.replay is not None)
    if not (chosen.list or chosen.rebuild) and chosen.target not in known:
        parser.exit(2, f"--target {chosen.target}: not one of {', '.join(known)}\n")
    if chosen.list:
        print("\n".join(running.names()))
    elif chosen.rebuild:
        print(f"{corpus.rebuild():,} bytes of corpus")
    elif chosen.replay is not None:
        target, _ = running.target_of(chosen.target)
        try:
            data = chosen.replay.read_bytes()
        except OSError as error:
            parser.exit(2, f"--replay {chosen.replay}: {error.strerror}\n")
        print("accepted" if running.execute(chosen.target, target, data) else "refused")
    elif chosen.atheris:
        running.guided(chosen.target, chosen.executions, seed=chosen.seed)
    else:
        found = [name for name in _names(chosen.target) if _apart(name, chosen)]
        return 1 if found else 0
    return 0


def _instrumented() -> "contextlib.AbstractContextManager[None]":
    import atheris

    return atheris.instrument_imports(include=["swarmdem"])


def _choices(*, one: bool) -> list[str]:
    from tests.fuzz import running

    return running.names() if one else ["all", "below", *running.names()]


def _names(chosen: str) -> list[str]:
    from tests.fuzz import running

    if chosen == "below":
        return [name for name in running.names() if running.target_of(name)[0].below]
    return running.names() if chosen == "all" else [chosen]


def _apart(name: str, chosen: argparse.Namespace) -> bool:
    """Run one target in a process of its own, which tells its memory; return whether it found something."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(name, chosen))
    process.start()
    process.join()
    return process.exitcode != 0


def _run(name: str, chosen: argparse.Namespace) -> None:
    from tests.fuzz import running

    try:
        told = running.run(name, chosen.executions, seed=chosen.seed, seconds=chosen.seconds)
    except running.Finding as finding:
        path = Path(f"finding-{name}.bin")
        path.write_bytes(finding.data)
        print(f"{name}: {finding.__cause__!r}\n{finding}\nthe input is in {path}", flush=True)
        raise
    print(told.line(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
