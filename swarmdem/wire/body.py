"""What all bodies have in common, and the limits that several of them share."""

import msgspec

KIB = 1024
LISTED_MAX = 1024
"""Peers in one plan (one cell)."""


class Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Common settings of all bodies."""
