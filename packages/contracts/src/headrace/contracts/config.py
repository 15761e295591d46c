"""The settings of all services, read from the environment alone.

The names and defaults are those of the HTTP API page; every service reads the same `JobConfig` and uses its part.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from headrace.contracts.errors import ConfigError

PREFIX = "JOB_"
SECRET_NAMES = ("JOB_REDIS_URL", "JOB_MONGO_URL")
"""Names that may carry a password; each is also read from the file named by NAME_FILE."""
SCHEMES = {"redis_url": ("redis://", "rediss://", "unix://"), "mongo_url": ("mongodb://", "mongodb+srv://")}


class JobConfig(BaseModel):
    """Everything that can be set. Immutable; `load_config` builds it from an environment with readable errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # The six of the original specification.
    max_workers: int = Field(default=10, ge=1, le=10_000)
    queue_size_limit: int = Field(default=1000, ge=1)
    timeout_seconds: float = Field(default=3600, ge=1, le=604_800)
    worker_heartbeat_seconds: float = Field(default=30, gt=0)
    redis_url: SecretStr = SecretStr("redis://localhost:6379")
    recovery_interval_seconds: float = Field(default=60, gt=0)

    max_retries: int = Field(default=3, ge=0, le=100)
    mongo_url: SecretStr = SecretStr("mongodb://localhost:27017/?replicaSet=rs0")
    mongo_database: str = Field(default="headrace", min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_-]+$")
    namespace: str = Field(default="headrace", min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_.-]+$")
    lease_seconds: float = Field(default=90, gt=0)
    max_crashes: int = Field(default=3, ge=1, le=100)
    claim_horizon_ms: int = Field(default=20, ge=0, le=60_000)
    starvation_seconds: float = Field(default=0, ge=0)
    shed_shares: dict[str, int] = {"high": 100, "medium": 100, "low": 100}
    pools_file: Path | None = None
    payload_limit_bytes: int = Field(default=262_144, ge=1024, le=4_194_304)
    # A century at most: an end beyond the year 9999 is a date that nobody can read back.
    retention_days: float = Field(default=30, ge=0, le=36_500)
    dead_retention_days: float = Field(default=0, ge=0, le=36_500)
    retention_bytes: int = Field(default=0, ge=0)
    audit_retention_days: float = Field(default=365, ge=0, le=36_500)
    shutdown_grace_seconds: float = Field(default=30, ge=0)
    http_host: str = "127.0.0.1"
    http_port: int | None = Field(default=None, ge=0, le=65_535)
    http_base_path: str = ""
    api_tokens_file: Path | None = None
    scheduler_url: str = "http://127.0.0.1:8080"
    read_only: bool = False
    redact_keys: tuple[str, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    crawl_allow_private: bool = False
    failpoints: str = ""
    test_mode: bool = False

    @field_validator("shed_shares", mode="before")
    @classmethod
    def _parse_shares(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        shares: dict[str, int] = {}
        for part in value.split(","):
            name, _, share = part.strip().partition(":")
            if name not in {"high", "medium", "low"} or not share.isdigit() or not 0 <= int(share) <= 100:
                raise ValueError("must look like high:100,medium:100,low:80, each a percentage from 0 to 100")
            shares[name] = int(share)
        return {"high": 100, "medium": 100, "low": 100} | shares

    @field_validator("redact_keys", mode="before")
    @classmethod
    def _parse_keys(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("redis_url", "mongo_url")
    @classmethod
    def _known_scheme(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        # Here, and not by the driver: its words come late, and quote the URL with its password.
        schemes = SCHEMES[str(info.field_name)]
        if not value.get_secret_value().startswith(schemes):
            raise ValueError(f"must begin with {' or '.join(schemes)}")
        return value

    @field_validator("http_base_path")
    @classmethod
    def _clean_path(cls, value: str) -> str:
        if value in {"", "/"}:
            return ""
        if not value.startswith("/") or value.endswith("/"):
            raise ValueError("must start with a slash and not end with one")
        return value

    @model_validator(mode="after")
    def _cross_check(self) -> Self:
        # Floats: 0.1 * 3 is a little more than 0.3.
        if self.worker_heartbeat_seconds * 3 > self.lease_seconds * (1 + 1e-9):
            raise ValueError(
                "JOB_LEASE_SECONDS must be at least three times JOB_WORKER_HEARTBEAT_SECONDS, "
                "or one late heartbeat would count as a death"
            )
        if self.failpoints and not self.test_mode:
            raise ValueError("JOB_FAILPOINTS is refused unless JOB_TEST_MODE=1: it breaks the service on purpose")
        return self


KNOWN_NAMES = frozenset(PREFIX + name.upper() for name in JobConfig.model_fields)


def load_config(environ: Mapping[str, str] | None = None) -> tuple[JobConfig, list[str]]:
    """Read the settings.

    Args:
        environ: The environment; the process's own by default.

    Returns:
        The settings, and the unknown `JOB_*` names that are no likely misspelling (worth a warning: CI systems set
        such names for themselves).

    Raises:
        ConfigError: A name is a likely misspelling, a value breaks its rule, or a `NAME_FILE` cannot be read.
    """
    env = dict(os.environ if environ is None else environ)
    values = _read_secret_files(env)
    warnings = _check_names(env)
    for name, value in env.items():
        if name in KNOWN_NAMES and value != "":
            values.setdefault(name.removeprefix(PREFIX).lower(), value)
    try:
        return JobConfig(**values), warnings
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _read_secret_files(env: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in SECRET_NAMES:
        path = env.get(name + "_FILE")
        if not path:
            continue
        if env.get(name):
            raise ConfigError(f"{name} and {name}_FILE are both set; keep one of them")
        try:
            values[name.removeprefix(PREFIX).lower()] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"{name}_FILE names a file that cannot be read: {reason}") from None
    return values


def _check_names(env: Mapping[str, str]) -> list[str]:
    known = KNOWN_NAMES | {name + "_FILE" for name in SECRET_NAMES}
    warnings = []
    for name in sorted(env):
        if not name.startswith(PREFIX) or name in known:
            continue
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.85)
        if close:
            raise ConfigError(f"{name} is not a setting; did you mean {close[0]}?")
        warnings.append(name)
    return warnings


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        where = PREFIX + str(problem["loc"][0]).upper() if problem["loc"] else ""
        rule = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {rule}" if where else rule)
    return "; ".join(lines)
