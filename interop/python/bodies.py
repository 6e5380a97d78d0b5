"""Message bodies that can be told apart and checked: each is a function of its key and size.

This client hands bodies over as C strings, which end at a NUL byte: text only.
"""

import base64
import hashlib


def body(key, size):
    """Text of exactly `size` bytes that hardly compresses, the same for the same key."""
    raw = hashlib.shake_256(key.encode()).digest(size)
    return base64.b64encode(raw)[:size]


def compressible(key, size):
    """Text of exactly `size` bytes that shrinks well, so the client compresses it."""
    line = (key + ' the same line again and again; ').encode()
    return (line * (size // len(line) + 1))[:size]


def digest(content):
    """What the cases compare, so that a failure line stays short."""
    return hashlib.sha256(content).hexdigest()
