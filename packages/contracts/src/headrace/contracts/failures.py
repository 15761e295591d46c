"""What an executor may raise, and what is raised in it."""

from __future__ import annotations

from headrace.contracts.error_base import HeadraceError


class LeaseLost(HeadraceError):  # noqa: N818  -- the documented name
    """This attempt no longer counts: the job was taken from it. Stop, and write nothing more."""


class JobCancelled(HeadraceError):  # noqa: N818  -- the documented name
    """Somebody asked for this job to be cancelled. Clean up and stop."""


class JobFailure(HeadraceError):  # noqa: N818  -- a family, not an error of ours
    """What an executor may raise to steer what happens after its failure."""


class Retry(JobFailure):
    """Run the job again later; counts as one failure.

    Args:
        message: What went wrong, for the job's record.
        delay_seconds: When to run again; without it the retry policy decides.
    """

    def __init__(self, message: str = "retry asked for", *, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds


class DependencyDown(JobFailure):
    """Something that the job needs does not work: park the job, and take no failure for it.

    Args:
        name: The dependency, as `JobContext.dependency` names it.
        message: What was seen of it.
    """

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name
        self.is_counted = False
        """Whether its breaker knows of it; set by the worker."""


class PermanentError(JobFailure):
    """Running the job again cannot help: fail it now, whatever retries are left."""
