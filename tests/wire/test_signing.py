"""Keys, ids and the keys that must be refused."""

from hashlib import blake2b

import pytest
from hypothesis import given, strategies as st

from swarmdem.errors import MisuseError
from swarmdem.wire.signing import ED25519, Identity, peer_id

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P

SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
"""Every canonical point whose order divides 8 (RFC 8032 encoding)."""

NOT_CANONICAL = [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]
"""Second encodings of such points."""


def double(point: tuple[int, int]) -> tuple[int, int]:
    """Return twice *point* on the Edwards curve of Ed25519."""
    x, y = point
    t = D * x * x * y * y
    return 2 * x * y * pow(1 + t, -1, P) % P, (y * y + x * x) * pow(1 - t, -1, P) % P


def test_known_key_gives_the_known_signature():
    """
    RFC 8032, section 7.1, test 2.
    """
    identity = Identity.from_private_bytes(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )

    assert identity.public_key.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert identity.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_peer_id_is_the_hash_of_the_key():
    key = Identity.from_private_bytes(bytes(range(32))).public_key

    assert peer_id(key) == blake2b(key, digest_size=16).digest()
    assert peer_id(key).hex() == "40bca4eaf9d2b097ff8dbaa4d61767ed"


def test_a_stored_key_comes_back_as_the_same_identity():
    identity = Identity.generate()

    again = Identity.from_private_bytes(identity.private_bytes())

    assert (again.peer, again.sign(b"x")) == (identity.peer, identity.sign(b"x"))
    assert identity.private_bytes().hex() not in repr(identity)


def test_a_key_of_the_wrong_length_is_our_callers_mistake():
    with pytest.raises(MisuseError, match="32 bytes, not 31"):
        Identity.from_private_bytes(bytes(31))


@given(st.binary(max_size=100))
def test_only_the_signed_data_verify(data):
    identity = Identity.from_private_bytes(bytes(32))
    signature = identity.sign(data)

    assert ED25519.verify(identity.public_key, signature, data)
    assert not ED25519.verify(identity.public_key, signature, data + b"\0")
    assert not ED25519.verify(identity.public_key, signature[:-1], data)


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_the_listed_points_have_small_order(key):
    y = int.from_bytes(bytes.fromhex(key), "little") & (2**255 - 1)
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x2, (P + 3) // 8, P)
    x = x if x * x % P == x2 else x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == x2

    assert double(double(double((x, y)))) == (0, 1)


@pytest.mark.parametrize("key", SMALL_ORDER + NOT_CANONICAL)
def test_unsound_keys_prove_nothing(key):
    """
    Under the neutral element, R = neutral and s = 0 is a signature of every message.
    """
    forged = bytes([1]) + bytes(63)

    assert not ED25519.verify(bytes.fromhex(key), forged, b"anything")


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_verifying_never_raises(key, signature):
    assert not ED25519.verify(key, signature, b"x")
