"""Lets a MongoDB driver stay behind its own links: the members that a server names are renamed in its replies."""

from __future__ import annotations

import struct
from collections.abc import Mapping


class RenamesMembers:
    """Rewrites the replies of one connection, message by message.

    A name is replaced by one of the same length (loopback ports from 10000 on have five digits), so lengths inside the
    message stay true.

    Args:
        names: What a server calls a member → what the driver must call it.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        if any(len(name) != len(other) for name, other in names.items()):
            raise ValueError("a member's two names must have the same length")
        self._names = {name.encode(): other.encode() for name, other in names.items()}
        self._rest = b""

    def __call__(self, data: bytes) -> bytes:
        """Take some bytes; give the messages that are whole now, renamed."""
        self._rest += data
        whole = 0
        while len(self._rest) - whole >= 4:
            (length,) = struct.unpack_from("<i", self._rest, whole)
            if len(self._rest) - whole < length:
                break
            whole += length
        messages, self._rest = self._rest[:whole], self._rest[whole:]
        for name, other in self._names.items():
            messages = messages.replace(name, other)
        return messages
