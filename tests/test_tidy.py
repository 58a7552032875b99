"""Rules about the code itself that no linter of ours knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "swarmdem").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PROGRAMS = [*sorted((ROOT / "examples").glob("*.py")), *sorted((ROOT / "benchmarks").glob("*.py"))]
FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
BANNED_NAMES = {"utils", "util", "helpers", "misc", "common", "stuff"}
BANNED_WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def relative(path):
    return str(path.relative_to(ROOT))


def body_lines(function):
    """Lines from the signature to the end, the docstring not counted."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        lines -= first.end_lineno - first.lineno + 1
    return lines


@pytest.mark.parametrize("path", [*PACKAGE, *TESTS, *PROGRAMS], ids=relative)
def test_functions_fit_one_screen(path):
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    assert [f"{f.name}: {body_lines(f)} lines" for f in functions if body_lines(f) > FUNCTION_LINES_MAX] == []


@pytest.mark.parametrize("path", PACKAGE, ids=relative)
def test_modules_stay_short(path):
    assert len(path.read_text().splitlines()) <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", [*PACKAGE, *PROGRAMS], ids=relative)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text())), "the first lines say what the module is for"


@pytest.mark.parametrize("path", [*PACKAGE, *TESTS, *PROGRAMS], ids=relative)
def test_no_module_is_a_drawer_for_everything(path):
    assert path.stem not in BANNED_NAMES


@pytest.mark.parametrize("path", [*PACKAGE, *TESTS, *PROGRAMS], ids=relative)
def test_nothing_is_left_for_later(path):
    if path == Path(__file__):
        return

    assert BANNED_WORDS.findall(path.read_text()) == []


def test_nothing_is_ever_unpickled():
    users = [
        relative(path) for path in PACKAGE if re.search(r"^\s*(import|from) pickle", path.read_text(), re.M)
    ]

    assert users == []
