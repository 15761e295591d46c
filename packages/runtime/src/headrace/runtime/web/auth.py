"""Who is asking, and what they may do: bearer tokens with scopes, kept as digests in a TOML file."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import hdrs, web

from headrace.contracts.errors import ConfigError, ForbiddenError, UnauthorizedError

MAX_TOKEN_CHARACTERS = 512
"""A longer token is wrong without being hashed."""

FIELDS: Final = ("hash", "scopes", "tenant", "rate", "burst", "share")
MIN_RATE, MAX_RATE = 0.001, 1_000_000

_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_SCHEME = re.compile(r"Bearer +(\S+)", re.IGNORECASE)


class Scope(StrEnum):
    """What a token may do."""

    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True)
class Rate:
    """So many jobs a second on average, and so many at once."""

    per_second: float
    burst: int


@dataclass(frozen=True)
class Token:
    """A caller. With a tenant, only that tenant's jobs exist for it.

    Attributes:
        name: As the file calls it.
        scopes: What it may do.
        tenant: Whose jobs exist for it; None = all.
        rate: How fast it may submit; the tokens of one tenant share it.
        share: How much of a pool's bound its tenant may fill, in percent.
    """

    name: str
    scopes: frozenset[Scope]
    tenant: str | None = None
    rate: Rate | None = None
    share: int = 100

    def allows(self, scope: Scope) -> bool:
        """Whether the token has the scope; admin has all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


TOKEN: Final = web.RequestKey("TOKEN", Token)
"""The caller of a request, on every route that has a scope."""

LOCAL_ADMIN: Final = Token(name="local", scopes=frozenset({Scope.ADMIN}))
"""The caller where no tokens are configured; such a service listens on loopback only."""


def hash_token(text: str) -> str:
    """The digest that the tokens file carries: `sha256:` and 64 hex digits.

    Tokens are long and random, so a plain digest is enough: there is nothing to guess.
    """
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class TokenTable:
    """The tokens of one file."""

    def __init__(self, by_hash: Mapping[str, Token]) -> None:
        self._by_hash = dict(by_hash)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file: one TOML table per token with `hash`, `scopes` and perhaps others of `FIELDS`.

        Raises:
            ConfigError: The file cannot be read or breaks a rule; the message names the table, never a digest.
        """
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"JOB_API_TOKENS_FILE cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            where = str(error).rpartition(" (at ")[2].rstrip(")") if isinstance(error, tomllib.TOMLDecodeError) else ""
            raise ConfigError(f"JOB_API_TOKENS_FILE is not TOML{': error at ' + where if where else ''}") from None
        if not tables:
            raise ConfigError("JOB_API_TOKENS_FILE holds no token; 'headrace token new NAME' prints one")
        by_hash: dict[str, Token] = {}
        for name, table in tables.items():
            digest, token = _read(name, table)
            if digest in by_hash:
                raise ConfigError(f"JOB_API_TOKENS_FILE: [{name}] has the hash of [{by_hash[digest].name}]")
            by_hash[digest] = token
        _check_tenants(by_hash.values())
        return cls(by_hash)

    def all(self) -> list[Token]:
        """Every token."""
        return list(self._by_hash.values())

    def hashes(self) -> list[str]:
        """The digests of every token."""
        return list(self._by_hash)

    def find(self, text: str) -> Token | None:
        """The token with this text. Takes the same time whichever it is, and whether there is one."""
        if len(text) > MAX_TOKEN_CHARACTERS:
            return None
        digest = hash_token(text)
        found = None
        for known, token in self._by_hash.items():
            if hmac.compare_digest(known, digest):
                found = token
        return found


TOKENS: Final = web.AppKey("TOKENS", TokenTable)
"""The application's tokens; absent where none are configured."""


CREDENTIAL: Final[web.AppKey[Callable[[web.Request], str | None]]] = web.AppKey("CREDENTIAL")
"""Where else the text of a token may come from when a request has no `Authorization`: a session. Such a request is sent
by browsers on their own, so whoever sets this must see to it that no foreign page makes one that changes anything."""


def authorize(request: web.Request, *scopes: Scope) -> Token:
    """The caller of the request, who has one of the scopes.

    Raises:
        UnauthorizedError: No token, or one that is not known.
        ForbiddenError: The token has none of them.
    """
    token = _caller(request)
    if not any(token.allows(scope) for scope in scopes):
        raise ForbiddenError(f"the token lacks the scope {' or '.join(scopes)}")
    return token


def _caller(request: web.Request) -> Token:
    table = request.app.get(TOKENS)
    if table is None:
        return LOCAL_ADMIN
    text = token_text(request)
    if text is None:
        raise UnauthorizedError("send a token as 'Authorization: Bearer TOKEN'")
    token = table.find(text)
    if token is None:
        raise UnauthorizedError("this token is not known")
    return token


def token_text(request: web.Request) -> str | None:
    """What the caller shows as a token; None: nothing. An unreadable `Authorization` is an empty token."""
    headers = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not headers:
        session = request.app.get(CREDENTIAL)
        return session(request) if session is not None else None
    match = _SCHEME.fullmatch(headers[0].strip()) if len(headers) == 1 else None
    return match[1] if match else ""


def _read(name: str, table: Any) -> tuple[str, Token]:
    where = f"JOB_API_TOKENS_FILE: [{name}]"
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table with hash and scopes")
    unknown = sorted(set(table) - set(FIELDS))
    if unknown:
        raise ConfigError(f"{where} {unknown[0]} is not a field; known are {', '.join(FIELDS)}")
    digest, scopes, tenant = table.get("hash"), table.get("scopes"), table.get("tenant")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise ConfigError(f"{where} hash must be 'sha256:' and 64 hex digits, as 'headrace token new' prints it")
    known = [scope.value for scope in Scope]
    if not isinstance(scopes, list) or not scopes or any(scope not in known for scope in scopes):
        raise ConfigError(f"{where} scopes must be a list of {', '.join(known)}")
    if tenant is not None and (not isinstance(tenant, str) or not 1 <= len(tenant) <= 100):
        raise ConfigError(f"{where} tenant must be a text of 1 to 100 characters")
    token = Token(
        name=name,
        scopes=frozenset(map(Scope, scopes)),
        tenant=tenant,
        rate=_read_rate(where, table),
        share=_read_share(where, table),
    )
    return digest, token


def _read_rate(where: str, table: Mapping[str, Any]) -> Rate | None:
    rate, burst = table.get("rate"), table.get("burst")
    if rate is None:
        if burst is not None:
            raise ConfigError(f"{where} burst needs a rate beside it")
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not MIN_RATE <= rate <= MAX_RATE:
        raise ConfigError(f"{where} rate must be a number of jobs per second from {MIN_RATE} to {MAX_RATE}")
    burst = max(1, math.ceil(rate)) if burst is None else burst
    if isinstance(burst, bool) or not isinstance(burst, int) or not 1 <= burst <= MAX_RATE:
        raise ConfigError(f"{where} burst must be a whole number of jobs from 1 to {MAX_RATE}")
    return Rate(per_second=float(rate), burst=burst)


def _read_share(where: str, table: Mapping[str, Any]) -> int:
    share = table.get("share", 100)
    if isinstance(share, bool) or not isinstance(share, int) or not 1 <= share <= 100:
        raise ConfigError(f"{where} share must be a whole number of percent from 1 to 100")
    if "share" in table and "tenant" not in table:
        raise ConfigError(f"{where} share needs a tenant: it is the tenant's part of a pool's bound")
    return share


def _check_tenants(tokens: Iterable[Token]) -> None:
    first: dict[str, Token] = {}
    for token in tokens:
        other = first.setdefault(token.tenant, token) if token.tenant is not None else token
        if (token.rate, token.share) != (other.rate, other.share):
            raise ConfigError(
                f"JOB_API_TOKENS_FILE: [{token.name}] and [{other.name}] are of one tenant, which has one rate, burst "
                "and share: they must say the same"
            )
