"""Texts that only this service can make and read: sealed with a key, so that a cookie may carry them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

_NONCE, _TAG = 16, 32


class Sealer:
    """Seals and opens texts. Stateless: whoever has the key opens what any of its holders sealed.

    Encrypt-then-MAC: the text is covered with a keyed stream (SHAKE-256 over key and nonce), nonce, end and cover are
    authenticated with HMAC-SHA-256. Both keys are made from the one given.

    Args:
        key: Secret.
        clock: Seconds since 1970.
    """

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._cover_key = hashlib.sha256(b"cover" + key).digest()
        self._tag_key = hashlib.sha256(b"tag" + key).digest()
        self._clock = clock

    def seal(self, text: str, *, seconds: float) -> str:
        """The text in a form fit for a cookie, readable for so long."""
        nonce = secrets.token_bytes(_NONCE)
        end = int(self._clock() + seconds).to_bytes(8, "big")
        body = nonce + end + self._cover(nonce, text.encode())
        return base64.urlsafe_b64encode(body + self._tag(body)).decode().rstrip("=")

    def open(self, sealed: str) -> str | None:
        """The text; None when it was not sealed with this key, was changed, or is too old."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, tag = raw[:-_TAG], raw[-_TAG:]
        if len(body) < _NONCE + 8 or not hmac.compare_digest(tag, self._tag(body)):
            return None
        nonce, end, cover = body[:_NONCE], body[_NONCE : _NONCE + 8], body[_NONCE + 8 :]
        if int.from_bytes(end, "big") < self._clock():
            return None
        return self._cover(nonce, cover).decode()

    def mark(self, text: str) -> str:
        """A text that belongs to this one and that nobody else can make."""
        return hmac.new(self._tag_key, b"mark" + text.encode(), hashlib.sha256).hexdigest()

    def _cover(self, nonce: bytes, data: bytes) -> bytes:
        stream = hashlib.shake_256(self._cover_key + nonce).digest(len(data))
        return bytes(one ^ other for one, other in zip(data, stream, strict=True))

    def _tag(self, body: bytes) -> bytes:
        return hmac.new(self._tag_key, body, hashlib.sha256).digest()


def key_of(hashes: list[str]) -> bytes:
    """The key for a tokens file, so that every replica with that file has it and a changed file ends all sessions.

    It need not withstand a reader of the file: what is sealed is a token, and that alone lets anybody in. Without
    tokens it is random: what it protects is the loopback address of one process.
    """
    if not hashes:
        return secrets.token_bytes(32)
    return hashlib.sha256(("headrace monitor session\n" + "\n".join(sorted(hashes))).encode()).digest()
