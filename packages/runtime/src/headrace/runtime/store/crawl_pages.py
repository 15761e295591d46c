"""The pages of a crawl as values, and how they are spelled in MongoDB."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

from headrace.contracts.api import PageView

PageState = Literal["ok", "failed", "skipped", "duplicate"]
Document = dict[str, Any]

HASH_BYTES = 12


def url_hash(url: str) -> bytes:
    """The key of a canonical URL within its job: 12 bytes, enough for 10^9 URLs without a clash."""
    return blake2b(url.encode("utf-8"), digest_size=HASH_BYTES).digest()


@dataclass(frozen=True, slots=True)
class StoredPage:
    """What became of one URL. `found` are the URLs in reach that this page was the first to name."""

    url: str
    state: PageState
    depth: int
    final_url: str | None = None
    status: int | None = None
    error: str | None = None
    tries: int = 0
    found: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    title: str | None = None
    description: str | None = None
    canonical: str | None = None
    encoding: str | None = None
    text: str | None = None
    bytes: int = 0

    def with_reading(
        self, *, title: str | None, description: str | None, canonical: str | None, encoding: str, text: str
    ) -> StoredPage:
        """The same with what the page says."""
        return replace(self, title=title, description=description, canonical=canonical, encoding=encoding, text=text)


@dataclass(frozen=True, slots=True)
class SeenPage:
    """What a resumed crawl needs to know of a stored page. `final_url` is set only where there was a redirect."""

    key: bytes
    state: PageState
    depth: int
    found: tuple[str, ...]
    final_url: str | None
    error: str | None
    bytes: int


SEEN_FIELDS = {"state": 1, "depth": 1, "found": 1, "final_url": 1, "error": 1, "bytes": 1}


def text_hash(text: str) -> str:
    """The key of a text within its job: pages with one text share it."""
    return blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def page_document(page: StoredPage, *, attempt: int, at: datetime) -> Document:
    """The small document of `crawl_pages`, without its id. Fields without a value are left out."""
    fields: Document = {
        "url": page.url,
        "final_url": page.final_url,
        "state": page.state,
        "status": page.status,
        "error": page.error,
        "depth": page.depth,
        "tries": page.tries,
        "attempt": attempt,
        "found": list(page.found) or None,
        "n_links": len(page.links),
        "title": page.title,
        "description": page.description,
        "canonical": page.canonical,
        "encoding": page.encoding,
        "bytes": page.bytes,
        "text_hash": None if page.text is None else text_hash(page.text),
        "at": at,
    }
    return {name: value for name, value in fields.items() if value is not None}


def seen_page(document: Document) -> SeenPage:
    """The part of a stored document that a resume reads."""
    return SeenPage(
        key=bytes.fromhex(document["_id"].rpartition(":")[2]),
        state=document["state"],
        depth=document["depth"],
        found=tuple(document.get("found", ())),
        final_url=document.get("final_url"),
        error=document.get("error"),
        bytes=document["bytes"],
    )


def page_view(document: Document) -> PageView:
    """A stored document as the API shows it; a page without redirects is its own final URL."""
    own_url = document["url"] if document["state"] == "ok" else None
    return PageView(
        url=document["url"],
        final_url=document.get("final_url", own_url),
        state=document["state"],
        status=document.get("status"),
        depth=document["depth"],
        title=document.get("title"),
        bytes=document["bytes"],
        error=document.get("error"),
    )
