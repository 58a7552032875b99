"""Everything swarmdem raises.

SwarmError
├── ConfigError            a setting is missing, out of range or contradicts another
│   ├── SettingError           one setting of a run cannot work
│   └── CharterMismatchError   a swarm of this name runs under another charter
├── MisuseError            our own caller broke the rules; the call can be fixed
├── WireError              bytes from outside that we refuse to read
│   ├── OversizeFrameError     longer than the limit of its kind
│   ├── SignatureError         not signed by the key it names
│   └── MalformedFrameError    anything else that is not a frame of this version
├── TransportError         the broker or the link failed; worth retrying
├── LearningError          parameters, data or losses that must not enter a model
│   ├── SchemaError            names, shapes or dtypes are not the swarm's
│   ├── NotFiniteError         NaN or infinite values
│   └── NoTrainingError        training fails at so many peers that their run cannot go on
├── DataError              a data file is missing, malformed or does not fit the model
├── StoreError             a key, checkpoint or state file cannot be used
│   └── KeyInUseError          another running peer holds this key
└── MissingExtraError      an optional package is needed for what was asked

A remote peer can cause a `WireError` and nothing else: the protocol core never raises because
of what another peer said, it returns `Reject`. An `AssertionError` is always our own bug.
"""

from collections.abc import Sequence


class SwarmError(Exception):
    """Base of all; never raised directly."""


class ConfigError(SwarmError):
    """A setting is missing, out of range or contradicts another."""


class SettingError(ConfigError):
    """One setting of a run cannot work; told as the flag of the command line."""

    def __init__(self, setting: str, value: object, wanted: str) -> None:
        super().__init__(f"--{setting.replace('_', '-')} {value}: {wanted}")
        self.setting = setting
        self.value = value
        self.wanted = wanted


class CharterMismatchError(ConfigError):
    """A swarm of this name runs under another charter."""

    def __init__(self, swarm: str, settings: Sequence[str]) -> None:
        names = ", ".join(settings)
        super().__init__(f"swarm {swarm!r} runs under another charter; settings that differ: {names}")
        self.swarm = swarm
        self.settings = tuple(settings)


class MisuseError(SwarmError):
    """Our own caller broke the rules; the call can be fixed."""


class WireError(SwarmError):
    """Bytes from outside that we refuse to read; base class."""


class OversizeFrameError(WireError):
    """The frame is longer than we accept."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"frame of {size_bytes} bytes exceeds {limit_bytes} bytes")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class SignatureError(WireError):
    """The frame is not signed by the key it names."""


class MalformedFrameError(WireError):
    """Not a frame of this version, for any other reason."""


class ForeignFrameError(WireError):
    """A frame under a charter that is not this peer's: of another swarm, or of a cell that it has left."""


class TransportError(SwarmError):
    """The broker or the link failed; worth retrying."""


class LearningError(SwarmError):
    """Parameters, data or losses that must not enter a model; base class."""


class SchemaError(LearningError):
    """Names, shapes or dtypes are not those of the swarm's schema."""


class NotFiniteError(LearningError):
    """A value is NaN or infinite."""


class NoTrainingError(LearningError):
    """Training fails at so many peers that their run cannot go on."""


class DataError(SwarmError):
    """A data file is missing, malformed or does not fit the model."""


class StoreError(SwarmError):
    """A key, checkpoint or state file cannot be used."""


class KeyInUseError(StoreError):
    """Another running peer holds this key."""


class MissingExtraError(SwarmError):
    """An optional package is needed for what was asked."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional package: pip install 'swarmdem[{extra}]'")
        self.extra = extra
