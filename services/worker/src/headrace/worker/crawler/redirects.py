"""Redirects as pages of their own: each waits for what becomes of its target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from headrace.runtime.store.crawl_results import PageState, SeenPage
from headrace.worker.crawler.frontier import Target

MAX_HOPS = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a URL. `final_url` is where its redirects ended, None when it had none."""

    state: PageState
    error: str | None = None
    final_url: str | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """One answered redirect, not settled yet."""

    source: Target
    target_url: str
    target_key: bytes
    status: int | None
    tries: int


class Redirects:
    """Follows who waits for whom, so that the outcome depends on the site alone, not on which answer came first.

    Every URL is fetched once, a redirect's target as a page of its own. When the target's outcome is known, all that
    lead to it are settled: a duplicate of a stored page, or as failed or skipped as their target.

    Memory: one entry per URL that was not stored as a page of its own.
    """

    def __init__(self) -> None:
        self._outcomes: dict[bytes, Outcome] = {}
        self._towards: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, list[Redirect]] = {}

    def remember(self, page: SeenPage) -> None:
        """Take over an outcome that an earlier attempt stored."""
        if page.state != "ok":
            self._outcomes[page.key] = Outcome(page.state, page.error, page.final_url)

    def follow(self, redirect: Redirect, *, target_is_done: bool) -> Iterator[tuple[Redirect, Outcome]]:
        """Add a redirect; yields every redirect that is settled by that, maybe itself, maybe none."""
        key, target = redirect.source.key, redirect.target_key
        node: bytes | None = target
        while node is not None and node != key:
            node = self._towards.get(node)
        if node == key:
            yield from self._settle_one(redirect, Outcome("failed", "redirect_loop"))
        elif target_is_done:
            yield from self._settle_one(redirect, self._behind(redirect, self._outcomes.get(target)))
        else:
            self._towards[key] = target
            self._waiting.setdefault(target, []).append(redirect)

    def settle(self, key: bytes, outcome: Outcome) -> Iterator[tuple[Redirect, Outcome]]:
        """Something became of this URL; yields every redirect that led to it, with its own outcome."""
        if outcome.state != "ok":
            self._outcomes[key] = outcome
        for redirect in self._waiting.pop(key, ()):
            self._towards.pop(redirect.source.key, None)
            yield from self._settle_one(redirect, self._behind(redirect, outcome if outcome.state != "ok" else None))

    def _settle_one(self, redirect: Redirect, outcome: Outcome) -> Iterator[tuple[Redirect, Outcome]]:
        outcome = replace(outcome, final_url=outcome.final_url or redirect.target_url)
        yield redirect, outcome
        yield from self.settle(redirect.source.key, outcome)

    @staticmethod
    def _behind(redirect: Redirect, target: Outcome | None) -> Outcome:
        # Pages that were stored leave no outcome behind: they are the common case.
        if target is None:
            return Outcome("duplicate", None, redirect.target_url)
        # A loop has no end: each of its members names the next.
        final_url = None if target.error == "redirect_loop" else target.final_url
        return Outcome(target.state, target.error, final_url or redirect.target_url)
