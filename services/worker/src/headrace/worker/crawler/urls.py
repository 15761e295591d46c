"""One spelling per URL, so that a page has one key."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urljoin, urlsplit

from w3lib.url import canonicalize_url, safe_url_string

MAX_URL_LENGTH = 2048
"""Longer links are traps far more often than pages; they are not followed."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SPACE = " \t\n\r\f"
_INVISIBLE = str.maketrans("", "", "\t\n\r")


def canonical(href: str, *, base: str = "", encoding: str = "utf-8") -> str | None:
    """The one spelling of a URL.

    Scheme and host in lower case, no default port, no fragment, dot segments resolved, percent-escapes upper-case,
    non-ASCII paths as UTF-8 and non-ASCII queries in the page's own encoding, as browsers send them. Path case and the
    order of the query stay as they are: both may matter to the site.

    Args:
        href: As written in the page; relative or absolute.
        base: What it is relative to.
        encoding: The page's encoding.

    Returns:
        The URL, or None when it is no http(s) URL, carries a user name, is malformed or too long.
    """
    text = href.strip(_SPACE).translate(_INVISIBLE).partition("#")[0]
    try:
        joined = urljoin(base, text) if base else text
    except ValueError:
        return None
    return _spell(joined, encoding) if len(joined) <= MAX_URL_LENGTH else None


@lru_cache(maxsize=8192)
def _spell(url: str, encoding: str) -> str | None:
    try:
        parts = urlsplit(_escape(url, encoding))
        scheme, port = parts.scheme.lower(), parts.port
        if scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
            return None
        if not parts.netloc.isascii():  # IDNA refused it
            return None
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        where = host if port in {None, _DEFAULT_PORTS[scheme]} else f"{host}:{port}"
        # Without the query: this function of w3lib would sort it.
        spelled = canonicalize_url(f"{scheme}://{where}{parts.path or '/'}")
    except ValueError:  # a bad port, a bad IPv6 address
        return None
    spelled += f"?{parts.query}" if parts.query else ""
    return spelled if len(spelled) <= MAX_URL_LENGTH else None


def _escape(url: str, encoding: str) -> str:
    try:
        return str(safe_url_string(url, encoding=encoding, path_encoding="utf-8"))
    except UnicodeEncodeError:
        return str(safe_url_string(url))


def host_of(url: str) -> str:
    """Host and port of a canonical URL, which is what politeness counts by."""
    return url.split("/", 3)[2]


def origin_of(url: str) -> str:
    """Scheme, host and port of a canonical URL, which is what a robots.txt speaks for."""
    return "/".join(url.split("/", 3)[:3])
