"""Objects of the user's own code, named `module:object` in a setting."""

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any

from swarmdem.errors import ConfigError


def imported(setting: str, name: str, known: Iterable[str]) -> Any:
    """Return the object that *name*, `module:object`, stands for; modules of the current folder count.

    Args:
        setting: Whose value *name* is; begins every message.
        name: What was given.
        known: What could have been given instead of `module:object`.

    Raises:
        ConfigError: There is no such module or object, or the module fails when it is imported.
    """
    where, colon, what = name.partition(":")
    if not (colon and where and what):
        raise ConfigError(f"{setting} = {name!r}: known are {', '.join(known)}, or module:{_NOUNS[setting]}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # installed commands, unlike python -m, do not look here
    try:
        module = importlib.import_module(where)
    except ImportError as error:
        raise ConfigError(f"{setting} = {name!r}: {error}") from error
    except Exception as error:  # whatever a module of the user's raises is a mistake in a setting
        raise ConfigError(f"{setting} = {name!r}: {type(error).__name__}: {error}") from error
    if not hasattr(module, what):
        raise ConfigError(f"{setting} = {name!r}: module {where!r} has no {what!r}")
    return getattr(module, what)


_NOUNS = {"model": "function", "strategy": "Class"}
