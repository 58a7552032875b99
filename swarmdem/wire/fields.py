"""The types of which bodies are made: integers and byte strings with their bounds.

What the bounds cannot say (an optional hash has 0 or 32 bytes) is in `checks.py`.
"""

from typing import Annotated

import msgspec

from swarmdem.identifiers import FrameId, GroupId, ModelHash, PeerId, PlanId

Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Peer16 = Annotated[PeerId, msgspec.Meta(min_length=16, max_length=16)]
Group16 = Annotated[GroupId, msgspec.Meta(min_length=16, max_length=16)]
GroupOrNone = Annotated[bytes, msgspec.Meta(max_length=16)]
HashOrNone = Annotated[bytes, msgspec.Meta(max_length=32)]
Hash32 = Annotated[ModelHash, msgspec.Meta(min_length=32, max_length=32)]
Frame32 = Annotated[FrameId, msgspec.Meta(min_length=32, max_length=32)]
Plan32 = Annotated[PlanId, msgspec.Meta(min_length=32, max_length=32)]
U8 = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
U16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
U64 = Annotated[int, msgspec.Meta(ge=0)]  # MessagePack has no integer above 2^64 - 1
RoundNumber = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
TermNumber = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
Extension = tuple[U16, Annotated[bytes, msgspec.Meta(max_length=4096)]]
Extensions = Annotated[tuple[Extension, ...], msgspec.Meta(max_length=16)]
Mode = Annotated[int, msgspec.Meta(ge=0, le=2)]
VoteMode = Annotated[int, msgspec.Meta(ge=0, le=3)]
