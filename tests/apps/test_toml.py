"""TOML as we write it is read back as it was."""

import tomllib

from hypothesis import given, strategies as st

from swarmdem.apps import toml

words = st.text(st.characters(codec="utf-8"), min_size=1)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(words, values, max_size=4))
def test_a_table_survives_writing_and_reading(content):
    assert tomllib.loads(toml.table("t", content)) == {"t": content}


def test_what_is_none_is_left_out():
    assert toml.table("t", {"a": 1, "b": None}) == "[t]\na = 1\n"
