"""The public face: what the package exports, what the README lists, what the command line offers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import swarmdem
from swarmdem.apps.cli import app
from swarmdem.apps.gather import RoundBook
from swarmdem.apps.pipes import Counts, PeerRound, Usage
from swarmdem.config import load_settings

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_readme_names_exactly_the_public_names():
    section = README.split("## The public names")[1].split("\n## ")[0]
    listed = re.findall(r"`([A-Za-z_]+)`", section)

    assert sorted(listed) == sorted(swarmdem.__all__)


@pytest.mark.parametrize("name", sorted(swarmdem.__all__))
def test_every_public_name_is_there_and_documented(name):
    assert getattr(swarmdem, name).__doc__


def test_every_command_and_every_flag_has_help():
    for command in app.registered_commands:
        assert command.callback.__doc__, command.callback
    for name, command in get_command(app).commands.items():
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_readme_describes_every_command():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}

    assert {name for name in names if f"`swarmdem {name}" not in README} == set()


def test_readme_shows_settings_that_load(tmp_path):
    text = re.search(r"```toml\n(\[peer\].*?)```", README, re.DOTALL)[1]
    (tmp_path / "peer.toml").write_text(text)
    (tmp_path / "charter.toml").write_text('[charter]\nswarm = "plant-7"\n')

    settings = load_settings(tmp_path / "peer.toml")

    assert (settings.learner.part, settings.learner.epochs, settings.learner.batch_size) == (3, 2, 10)
    assert settings.charter.swarm == "plant-7"


def test_readme_lists_defaults_as_they_are():
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", README, re.MULTILINE))
    charter = swarmdem.Charter(swarm="s")

    assert {name: rows[name] for name in ("levels", "start", "strategy", "founders", "digest-size")} == {
        "levels": str(charter.levels),
        "start": charter.start,
        "strategy": charter.strategy,
        "founders": str(charter.founders),
        "digest-size": str(charter.digest),
    }
    assert float(rows["mixing"]) == charter.mixing
    assert float(rows["pull"]) == charter.pull
    assert rows["patience"] == f"{charter.patience:g} s"


def test_readme_names_every_column_of_a_row():
    book = RoundBook(evaluated=lambda _: True, straggle_s=0.0)
    book.add(0, PeerRound(peer="a", round=1, certificate="p", certified=True, applied=True,
                          counts=Counts(), usage=Usage()), 0.0)  # fmt: skip
    [(row, _)] = book.due(1.0, lambda: 0.0)
    section = README.split("`rounds.jsonl`")[1].split("\n")[0]

    assert [name for name in row if f"`{name}`" not in section and not name.startswith("socket_bytes")] == []


def test_importing_the_package_loads_neither_torch_nor_numpy():
    code = (
        "import sys, swarmdem; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'asyncio')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from swarmdem.apps.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'asyncio', 'rich', 'cryptography')))"
    )

    assert (
        subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0
    )
