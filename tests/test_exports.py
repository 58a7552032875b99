"""The public face: what the package exports, what the README lists, what the command line offers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import swarmdem
from swarmdem.apps.cli import app

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

    from typer.main import get_command

    for name, command in get_command(app).commands.items():
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_readme_describes_every_command():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}

    assert {name for name in names if f"`swarmdem {name}" not in README} == set()


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
