"""Executors by entry point. Importing them is the child's business; the supervisor stays small."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from pydantic import BaseModel

from headrace.contracts.errors import ConfigError
from headrace.contracts.executor import ENTRY_POINT_GROUP, JobExecutor

TEST_GROUP = "headrace.testing.executors"
"""Executors that break things on purpose; looked at only with JOB_TEST_MODE=1."""

ExecutorClass = type[JobExecutor[Any]]


def load_executors(*, test_mode: bool = False, only: Iterable[str] | None = None) -> dict[str, ExecutorClass]:
    """Import the installed executors.

    Args:
        test_mode: Also those of the test group.
        only: Import these job types alone; a child needs no others.

    Returns:
        Job type → class.

    Raises:
        ConfigError: An entry point cannot be imported, is no complete executor, or is registered under another name
            than its `job_type`; or two distributions register the same type.
    """
    wanted = None if only is None else set(only)
    found: dict[str, ExecutorClass] = {}
    for group in (ENTRY_POINT_GROUP, TEST_GROUP) if test_mode else (ENTRY_POINT_GROUP,):
        for point in metadata.entry_points(group=group):
            if wanted is not None and point.name not in wanted:
                continue
            executor = _load(point)
            if found.setdefault(point.name, executor) is not executor:
                raise ConfigError(f"two executors are registered for job type {point.name!r}")
    return found


def _load(point: metadata.EntryPoint) -> ExecutorClass:
    try:
        executor = point.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"executor {point.name!r} ({point.value}) cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(executor, type) and issubclass(executor, JobExecutor)):
        raise ConfigError(f"executor {point.name!r} ({point.value}) is not a JobExecutor class")
    if getattr(executor, "job_type", None) != point.name:
        raise ConfigError(
            f"executor {point.name!r} ({point.value}) says its job_type is {getattr(executor, 'job_type', None)!r}"
        )
    if inspect.isabstract(executor):
        raise ConfigError(f"executor {point.name!r} ({point.value}) has no execute method")
    model = getattr(executor, "payload_model", None)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise ConfigError(f"executor {point.name!r} ({point.value}) has no payload_model that is a pydantic model")
    version: object = executor.contract_version
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version < 2**31:
        raise ConfigError(f"executor {point.name!r} ({point.value}) has contract_version {version!r}, not 1 or more")
    return executor
