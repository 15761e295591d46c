"""`JOB_POOLS_FILE`: how large the pools of this worker service may be and what their processes may use.

A TOML file with one table per pool, `[pools.NAME]`. It only sizes pools: which exist is what the installed executors
say, so one file may serve workers with different plug-ins.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from headrace.contracts.errors import ConfigError
from headrace.contracts.values import PoolName

NAME = "JOB_POOLS_FILE"
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Autoscale(BaseModel):
    """When a pool grows and shrinks between its two sizes."""

    model_config = _STRICT

    cooldown_up_seconds: float = Field(default=0.5, ge=0, le=3600)
    """After growing it does not grow again for so long."""
    cooldown_down_seconds: float = Field(default=15.0, ge=0, le=86_400)
    """It keeps what it needed at any time within the last so many seconds."""
    target_seconds: float = Field(default=1.0, gt=0, le=86_400)
    """It takes as many slots as would work off what waits within this time, by the measured run times."""


class PoolSize(BaseModel):
    """What the file says about one pool; None = the service's own default."""

    model_config = _STRICT

    min_slots: int | None = Field(default=None, ge=0, le=10_000)
    max_slots: int | None = Field(default=None, ge=0, le=10_000)
    slots_per_process: int | None = Field(default=None, ge=1, le=1000)
    memory_limit_mb: int | None = Field(default=None, ge=64)
    """A process above this resident size is killed, with its jobs."""
    memory_recycle_mb: int | None = Field(default=None, ge=64)
    """A process above this resident size takes no new jobs, and is replaced when its last one has ended."""
    cpu_seconds: int | None = Field(default=None, ge=1)
    """Of one job. A hard limit with one slot per process; else counted for plain functions, and told."""
    max_jobs_per_process: int | None = Field(default=None, ge=1)
    autoscale: Autoscale = Autoscale()

    @model_validator(mode="after")
    def _cross_check(self) -> Self:
        if self.min_slots is not None and self.max_slots is not None and self.min_slots > self.max_slots:
            raise ValueError("min_slots must not be more than max_slots")
        if (
            self.memory_limit_mb is not None
            and self.memory_recycle_mb is not None
            and self.memory_recycle_mb >= self.memory_limit_mb
        ):
            raise ValueError("memory_recycle_mb must be less than memory_limit_mb")
        return self


class PoolsFile(BaseModel):
    """The whole file."""

    model_config = _STRICT

    pools: dict[PoolName, PoolSize] = {}

    @model_validator(mode="before")
    @classmethod
    def _tables_only(cls, value: object) -> object:
        if isinstance(value, dict) and value and "pools" not in value:
            raise ValueError(f"every pool is a table [pools.NAME]; found {sorted(value)[0]!r} at the top")
        return value


def load_pools_file(path: Path | None) -> PoolsFile:
    """Read the file; without one every pool has the defaults.

    Raises:
        ConfigError: It cannot be read, is no TOML, or a value breaks its rule; the message names table and rule.
    """
    if path is None:
        return PoolsFile()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{NAME} names a file that cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{NAME} names a file that is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{NAME} is not TOML: {error}") from None
    try:
        return PoolsFile.model_validate(found)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(error))) from None


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        rule = problem["msg"].removeprefix("Value error, ")
        table, keys = _where([str(part) for part in problem["loc"] if part != "[key]"])
        lines.append(f"{NAME}: {table}{keys}{rule}")
    return lines


def _where(path: list[str]) -> tuple[str, str]:
    """`pools.crawl.autoscale.target_seconds` as table and key."""
    depth = 3 if path[2:3] == ["autoscale"] and len(path) > 3 else 2
    table, keys = path[:depth], path[depth:]
    return (f"[{'.'.join(table)}] " if table else ""), (f"{'.'.join(keys)}: " if keys else "")
