"""What a worker child lends to the executors that ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from headrace.contracts.config import JobConfig
from headrace.runtime.store.crawl_results import CrawlResults


@dataclass(frozen=True)
class WorkerResources:
    """Shared by every executor of a child; made once, before the first job, on the child's event loop."""

    crawl_results: CrawlResults
    config: JobConfig


@runtime_checkable
class UsesResources(Protocol):
    """An executor that wants them. The child calls `use` once, before it claims."""

    def use(self, resources: WorkerResources) -> None:
        """Take what is needed."""
