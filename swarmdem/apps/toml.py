"""Writes TOML; reading is the standard library's `tomllib`.

Only what our own files need: tables of strings, numbers, truth values and (nested) lists and
inline tables.
"""

import json
import re
from collections.abc import Mapping
from typing import Any


def table(name: str, values: Mapping[str, Any]) -> str:
    """Return one table, `[name]` and a line per value; values that are None are left out."""
    rows = [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[{name}]", *rows]) + "\n"


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
        case dict():
            return f"{{ {', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())} }}"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)
