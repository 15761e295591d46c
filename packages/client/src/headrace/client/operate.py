"""The part of the client for operators: dead letters, pools, types, breakers, audit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import quote

from headrace.client.calls import Calls, all_pages, path_of, read
from headrace.contracts.api import (
    AuditEntryView,
    AuditList,
    BreakerList,
    BreakerReset,
    BreakerView,
    DeadLetterGroup,
    DeadLetterGroups,
    DeadLetterResult,
    JobList,
    JobSummary,
    JobTypeList,
    JobTypeView,
    PoolList,
    PoolView,
)
from headrace.contracts.errors import NotFoundError

PAGE_ENTRIES = 200


class DeadFilter(TypedDict, total=False):
    """Which dead letters. Everything given must hold; nothing given means all."""

    type: str | None
    pool: str | None
    fingerprint: str | None


class PoolSizes(TypedDict, total=False):
    """Sizes of a pool. What is absent stays as it is; None goes back to the default."""

    size_limit: int | None
    min_slots: int | None
    max_slots: int | None


class OperatorCalls(Calls):
    """See to the whole. Changes need a token with the scope operate, `audit` one with admin."""

    async def dead_letter_page(
        self, cursor: str | None = None, limit: int = 50, **which: Unpack[DeadFilter]
    ) -> JobList:
        """Up to `limit` (at most 200) failed jobs that nobody discarded, newest first, and the cursor of the next."""
        return await self._get(JobList, "/v1/dead-letters", {**which, "cursor": cursor, "limit": limit})

    def dead_letters(self, **which: Unpack[DeadFilter]) -> AsyncGenerator[JobSummary, None]:
        """Every failed job that nobody discarded, newest first, fetched page by page."""

        async def fetch(cursor: str | None) -> tuple[list[JobSummary], str | None]:
            page = await self.dead_letter_page(cursor, PAGE_ENTRIES, **which)
            return page.jobs, page.next_cursor

        return all_pages(fetch)

    async def dead_letter_groups(self, **which: Unpack[DeadFilter]) -> list[DeadLetterGroup]:
        """Dead letters that failed in the same way, counted; the largest groups, the largest first."""
        query = {**which, "group_by": "fingerprint"}
        return (await self._get(DeadLetterGroups, "/v1/dead-letters", query)).groups

    async def replay_dead_letters(
        self, *, ids: Sequence[str] | None = None, limit: int = 1000, dry_run: bool = False, **which: Unpack[DeadFilter]
    ) -> DeadLetterResult:
        """Run dead letters again as new jobs, the oldest first, each at most once.

        Args:
            ids: These only, at most 1000.
            limit: How many at most, up to 10,000.
            dry_run: Change nothing; say how many match and which would be refused.
            **which: See `DeadFilter`.

        Returns:
            What was done. After a lost answer the request is sent again, and `done` counts what that one did.
        """
        return await self._act("replay", ids, limit, dry_run, which)

    async def discard_dead_letters(
        self, *, ids: Sequence[str] | None = None, limit: int = 1000, dry_run: bool = False, **which: Unpack[DeadFilter]
    ) -> DeadLetterResult:
        """Hide dead letters, the oldest first. Takes and returns the same as `replay_dead_letters`."""
        return await self._act("discard", ids, limit, dry_run, which)

    async def pools(self) -> list[PoolView]:
        """How every pool stands."""
        return (await self._get(PoolList, "/v1/pools")).pools

    async def pool(self, name: str) -> PoolView:
        """How a pool stands.

        Raises:
            NotFoundError: There is no such pool.
        """
        return await self._get(PoolView, path_of("pools", name))

    async def pause_pool(self, name: str, reason: str = "") -> PoolView:
        """Stop claims of a pool. Running jobs run on, and submissions are taken."""
        return await self._post(PoolView, path_of("pools", name, "pause"), {"reason": reason})

    async def resume_pool(self, name: str) -> PoolView:
        """Let claims of a pool go on."""
        return await self._post(PoolView, path_of("pools", name, "resume"))

    async def resize_pool(self, name: str, **sizes: Unpack[PoolSizes]) -> PoolView:
        """Change the sizes of a pool. Running workers follow within seconds.

        Raises:
            ValidationFailedError: A size breaks a rule, or none is given.
        """
        return read(PoolView, await self._transport.request("PATCH", path_of("pools", name), body=dict(sizes)))

    async def job_types(self) -> list[JobTypeView]:
        """Every job type that workers have registered, with the schema of its payload."""
        return (await self._get(JobTypeList, "/v1/job-types")).types

    async def breakers(self) -> list[BreakerView]:
        """Open breakers of what jobs depend on."""
        return (await self._get(BreakerList, "/v1/breakers")).breakers

    async def reset_breaker(self, name: str) -> BreakerReset:
        """Close a breaker by hand.

        Raises:
            NotFoundError: No breaker of this name is open; also when the first of two tries closed it.
        """
        if name in {"", ".", ".."}:
            raise NotFoundError("there is no breaker of this name")
        return await self._post(BreakerReset, f"/v1/breakers/{quote(name, safe='')}/reset")

    def audit(self) -> AsyncGenerator[AuditEntryView, None]:
        """Who did what, newest first, fetched page by page."""

        async def fetch(cursor: str | None) -> tuple[list[AuditEntryView], str | None]:
            page = await self._get(AuditList, "/v1/audit", {"cursor": cursor, "limit": PAGE_ENTRIES})
            return page.entries, page.next_cursor

        return all_pages(fetch)

    async def _act(
        self,
        what: Literal["replay", "discard"],
        ids: Sequence[str] | None,
        limit: int,
        dry_run: bool,
        which: DeadFilter,
    ) -> DeadLetterResult:
        wanted: dict[str, Any] = {name: value for name, value in which.items() if value is not None}
        if ids is not None:
            wanted["ids"] = list(ids)
        body = {"filter": wanted, "limit": limit, "dry_run": dry_run}
        return await self._post(DeadLetterResult, f"/v1/dead-letters/{what}", body)
