"""What is kept of a URL that was dealt with, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.runtime.store.crawl_results import PageState, StoredPage
from headrace.worker.crawler.frontier import Target
from headrace.worker.crawler.redirects import Outcome, Redirect
from headrace.worker.crawler.visit import Visit


@dataclass
class Counts:
    """How many URLs ended in each state, and the bytes of the pages that are ok."""

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    duplicate: int = 0
    bytes: int = 0

    @property
    def done(self) -> int:
        """URLs that are dealt with."""
        return self.ok + self.failed + self.skipped + self.duplicate

    def add(self, state: PageState, size: int) -> None:
        """One more."""
        setattr(self, state, getattr(self, state) + 1)
        self.bytes += size if state == "ok" else 0


def page_of_visit(
    target: Target, visit: Visit, final_url: str | None, *, links: tuple[str, ...], found: tuple[str, ...]
) -> StoredPage:
    """The page as it is stored, with the links that it was the first to name."""
    page = StoredPage(
        url=target.url,
        final_url=final_url,
        state=visit.state,
        status=visit.status,
        error=visit.error,
        depth=target.depth,
        tries=visit.tries,
        found=found,
        links=links,
        bytes=visit.size,
    )
    if visit.reading is None or visit.state != "ok":
        return page
    return page.with_reading(
        title=visit.reading.title,
        description=visit.reading.description,
        canonical=visit.reading.canonical,
        encoding=visit.reading.encoding,
        text=visit.reading.text,
    )


def page_of_redirect(redirect: Redirect, outcome: Outcome) -> StoredPage:
    """The page as it is stored; it names its target, so that a resumed crawl gives that the same depth."""
    return StoredPage(
        url=redirect.source.url,
        final_url=outcome.final_url,
        state=outcome.state,
        status=redirect.status,
        error=outcome.error,
        depth=redirect.source.depth,
        tries=redirect.tries,
        found=(redirect.target_url,),
    )
