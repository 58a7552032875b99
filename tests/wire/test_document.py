"""`docs/wire.md` says what the code does: the tables of fields, limits and kinds."""

import re
from pathlib import Path

import pytest

from swarmdem.wire.charter import Charter
from swarmdem.wire.extensions import UNDERSTOOD
from swarmdem.wire.messages import KINDS, NAMED, STANDING, Plan

TEXT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
SECTIONS = {
    int(match[1]): (match[2], match[3])
    for match in re.finditer(r"^### (\d+) (\w+)\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
}


def fields_of(table: str) -> list[tuple[int, str]]:
    """Return position and name of every row of the first table in *table*."""
    first = table.partition("| --- |")[2].partition("\n\n")[0]
    return [(int(row[1]), row[2]) for row in re.finditer(r"^\| (\d+) \| (\w+) \|", first, re.MULTILINE)]


def test_every_kind_has_a_section():
    assert {number: name for number, (name, _) in SECTIONS.items()} == {
        number: kind.__name__ for number, kind in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_positions_limit_and_scope_are_those_of_the_code(kind):
    text = SECTIONS[kind.TYPE][1]
    size, unit = re.search(r"Limit (\d+) (bytes|KiB|MiB)", text).groups()

    assert fields_of(text) == list(enumerate(kind.__struct_fields__))
    assert int(size) * {"bytes": 1, "KiB": 2**10, "MiB": 2**20}[unit] == kind.LIMIT
    assert ("Scope: swarm hash" in text) == (kind in NAMED)
    assert ("Standing." in text) == (kind in STANDING)


@pytest.mark.parametrize(("struct", "heading"), [(Plan, "A **plan**"), (Charter, "## 6. The charter")])
def test_positions_of_plan_and_charter_are_those_of_the_code(struct, heading):
    assert fields_of(TEXT.partition(heading)[2]) == list(enumerate(struct.__struct_fields__))


def test_the_extensions_of_a_plan_are_those_of_the_code():
    rows = TEXT.partition("| ext id |")[2].partition("\n\n")[0]

    assert {int(row[1]) for row in re.finditer(r"^\| (\d) \|", rows, re.MULTILINE)} == UNDERSTOOD[Plan]
