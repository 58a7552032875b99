"""The options and fixtures every part of the tests may use."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swarmdem.apps import cli


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="accept golden files as they come out now")


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Behind `&` in a script; the commands under test would inherit it, and hear of no Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def expect_text(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a golden file; with --rewrite, write the file instead."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--rewrite"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"{path.name} is missing: run with --rewrite and review it"
        assert text == path.read_text(), f"{path.name} differs: run with --rewrite if this is meant"

    return compare


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; return exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["swarmdem", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, captured.out, captured.err

    return run


@pytest.fixture
def printed_by(call: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Run the command line in this process, to the exit code *code*; return all that it printed."""

    def run(*arguments: object, code: int = 0) -> str:
        left, printed, errors = call(*arguments)
        assert left == code, errors
        return printed + errors

    return run
