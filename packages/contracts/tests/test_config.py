"""Settings: exactly the names and defaults of the HTTP API page, and clear words for everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from headrace.contracts.config import KNOWN_NAMES, PREFIX, JobConfig, load_config
from headrace.contracts.errors import ConfigError

DEFAULTS: dict[str, Any] = {
    "JOB_MAX_WORKERS": 10,
    "JOB_QUEUE_SIZE_LIMIT": 1000,
    "JOB_TIMEOUT_SECONDS": 3600,
    "JOB_WORKER_HEARTBEAT_SECONDS": 30,
    "JOB_REDIS_URL": "redis://localhost:6379",
    "JOB_RECOVERY_INTERVAL_SECONDS": 60,
    "JOB_MAX_RETRIES": 3,
    "JOB_MONGO_URL": "mongodb://localhost:27017/?replicaSet=rs0",
    "JOB_MONGO_DATABASE": "headrace",
    "JOB_NAMESPACE": "headrace",
    "JOB_LEASE_SECONDS": 90,
    "JOB_MAX_CRASHES": 3,
    "JOB_CLAIM_HORIZON_MS": 20,
    "JOB_STARVATION_SECONDS": 0,
    "JOB_SHED_SHARES": {"high": 100, "medium": 100, "low": 100},
    "JOB_POOLS_FILE": None,
    "JOB_PAYLOAD_LIMIT_BYTES": 262_144,
    "JOB_RETENTION_DAYS": 30,
    "JOB_DEAD_RETENTION_DAYS": 0,
    "JOB_RETENTION_BYTES": 0,
    "JOB_AUDIT_RETENTION_DAYS": 365,
    "JOB_SHUTDOWN_GRACE_SECONDS": 30,
    "JOB_HTTP_HOST": "127.0.0.1",
    "JOB_HTTP_PORT": None,
    "JOB_HTTP_BASE_PATH": "",
    "JOB_API_TOKENS_FILE": None,
    "JOB_SCHEDULER_URL": "http://127.0.0.1:8080",
    "JOB_READ_ONLY": False,
    "JOB_REDACT_KEYS": (),
    "JOB_LOG_LEVEL": "info",
    "JOB_LOG_FORMAT": "json",
    "JOB_CRAWL_ALLOW_PRIVATE": False,
    "JOB_FAILPOINTS": "",
    "JOB_TEST_MODE": False,
}
GIVEN: dict[str, tuple[str, Any]] = {
    "JOB_MAX_WORKERS": ("4", 4),
    "JOB_QUEUE_SIZE_LIMIT": ("5", 5),
    "JOB_TIMEOUT_SECONDS": ("6.5", 6.5),
    "JOB_WORKER_HEARTBEAT_SECONDS": ("0.1", 0.1),
    "JOB_REDIS_URL": ("redis://:secret@other:1", "redis://:secret@other:1"),
    "JOB_RECOVERY_INTERVAL_SECONDS": ("0.5", 0.5),
    "JOB_MAX_RETRIES": ("0", 0),
    "JOB_MONGO_URL": ("mongodb://u:p@other:1", "mongodb://u:p@other:1"),
    "JOB_MONGO_DATABASE": ("other", "other"),
    "JOB_NAMESPACE": ("a.b-c_d", "a.b-c_d"),
    "JOB_LEASE_SECONDS": ("120.5", 120.5),
    "JOB_MAX_CRASHES": ("1", 1),
    "JOB_CLAIM_HORIZON_MS": ("0", 0),
    "JOB_STARVATION_SECONDS": ("7", 7),
    "JOB_SHED_SHARES": ("low:80", {"high": 100, "medium": 100, "low": 80}),
    "JOB_POOLS_FILE": ("pools.toml", Path("pools.toml")),
    "JOB_PAYLOAD_LIMIT_BYTES": ("2048", 2048),
    "JOB_RETENTION_DAYS": ("0.5", 0.5),
    "JOB_DEAD_RETENTION_DAYS": ("90", 90),
    "JOB_RETENTION_BYTES": ("1000000", 1_000_000),
    "JOB_AUDIT_RETENTION_DAYS": ("30", 30),
    "JOB_SHUTDOWN_GRACE_SECONDS": ("0", 0),
    "JOB_HTTP_HOST": ("0.0.0.0", "0.0.0.0"),
    "JOB_HTTP_PORT": ("0", 0),
    "JOB_HTTP_BASE_PATH": ("/jobs", "/jobs"),
    "JOB_API_TOKENS_FILE": ("tokens.toml", Path("tokens.toml")),
    "JOB_SCHEDULER_URL": ("http://scheduler:8080", "http://scheduler:8080"),
    "JOB_READ_ONLY": ("1", True),
    "JOB_REDACT_KEYS": ("password, token,", ("password", "token")),
    "JOB_LOG_LEVEL": ("debug", "debug"),
    "JOB_LOG_FORMAT": ("console", "console"),
    "JOB_CRAWL_ALLOW_PRIVATE": ("true", True),
    "JOB_FAILPOINTS": ("", ""),
    "JOB_TEST_MODE": ("1", True),
}


def plain(config: JobConfig, name: str) -> Any:
    value = getattr(config, name.removeprefix(PREFIX).lower())
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(environ)
    return str(caught.value)


def test_the_names_are_those_of_the_page_and_no_others() -> None:
    assert set(DEFAULTS) == set(GIVEN) == KNOWN_NAMES


@pytest.mark.parametrize("name", DEFAULTS)
def test_without_an_environment_every_setting_has_its_documented_default(name: str) -> None:
    config, warnings = load_config({"PATH": "/bin", "OTHER_JOB_MAX": "1"})
    assert plain(config, name) == DEFAULTS[name]
    assert warnings == []


@pytest.mark.parametrize("name", GIVEN)
def test_every_setting_is_taken_from_its_name(name: str) -> None:
    text, expected = GIVEN[name]
    config, warnings = load_config({name: text})
    assert plain(config, name) == expected
    assert warnings == []


def test_an_empty_value_is_the_same_as_none() -> None:
    assert load_config(dict.fromkeys(DEFAULTS, ""))[0] == JobConfig()


def test_the_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_MAX_WORKERS", "77")
    assert load_config()[0].max_workers == 77


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("JOB_MAX_WORKERS", "0"),
        ("JOB_MAX_WORKERS", "ten"),
        ("JOB_MAX_WORKERS", "1.5"),
        ("JOB_QUEUE_SIZE_LIMIT", "0"),
        ("JOB_TIMEOUT_SECONDS", "0"),
        ("JOB_TIMEOUT_SECONDS", "604801"),
        ("JOB_TIMEOUT_SECONDS", "nan"),
        ("JOB_WORKER_HEARTBEAT_SECONDS", "0"),
        ("JOB_RECOVERY_INTERVAL_SECONDS", "-1"),
        ("JOB_RECOVERY_INTERVAL_SECONDS", "inf"),
        ("JOB_LEASE_SECONDS", "inf"),
        ("JOB_SHUTDOWN_GRACE_SECONDS", "inf"),
        ("JOB_RETENTION_DAYS", "inf"),
        ("JOB_RETENTION_DAYS", "1e9"),
        ("JOB_DEAD_RETENTION_DAYS", "-1"),
        ("JOB_MAX_RETRIES", "101"),
        ("JOB_MAX_CRASHES", "0"),
        ("JOB_MONGO_URL", "postgres://u:secret@db"),
        ("JOB_REDIS_URL", "localhost:6379"),
        ("JOB_MONGO_DATABASE", "a b"),
        ("JOB_MONGO_DATABASE", "a.b"),
        ("JOB_NAMESPACE", "a{b}"),
        ("JOB_CLAIM_HORIZON_MS", "-1"),
        ("JOB_SHED_SHARES", "low"),
        ("JOB_SHED_SHARES", "low:101"),
        ("JOB_SHED_SHARES", "low:-1"),
        ("JOB_SHED_SHARES", "urgent:50"),
        ("JOB_PAYLOAD_LIMIT_BYTES", "10"),
        ("JOB_PAYLOAD_LIMIT_BYTES", "99999999"),
        ("JOB_HTTP_PORT", "65536"),
        ("JOB_HTTP_BASE_PATH", "jobs"),
        ("JOB_HTTP_BASE_PATH", "/jobs/"),
        ("JOB_READ_ONLY", "maybe"),
        ("JOB_LOG_LEVEL", "loud"),
        ("JOB_LOG_FORMAT", "xml"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(name: str, text: str) -> None:
    assert refusal({name: text}).startswith(f"{name}: ")


def test_every_wrong_value_is_named_at_once() -> None:
    words = refusal({"JOB_MAX_WORKERS": "0", "JOB_LOG_LEVEL": "loud"})
    assert "JOB_MAX_WORKERS: " in words
    assert "JOB_LOG_LEVEL: " in words


def test_shares_name_the_form_they_must_have() -> None:
    assert "high:100,medium:100,low:80" in refusal({"JOB_SHED_SHARES": "low=80"})
    assert JobConfig(shed_shares={"high": 1, "medium": 2, "low": 3}).shed_shares["low"] == 3
    assert load_config({"JOB_SHED_SHARES": "medium:0, low:10"})[0].shed_shares == {"high": 100, "medium": 0, "low": 10}


def test_a_slash_is_the_empty_base_path() -> None:
    assert load_config({"JOB_HTTP_BASE_PATH": "/"})[0].http_base_path == ""


def test_a_lease_shorter_than_three_heartbeats_is_refused() -> None:
    words = refusal({"JOB_LEASE_SECONDS": "2.9", "JOB_WORKER_HEARTBEAT_SECONDS": "1"})
    assert "JOB_LEASE_SECONDS" in words
    assert "JOB_WORKER_HEARTBEAT_SECONDS" in words


@pytest.mark.parametrize(("heartbeat", "lease"), [("0.1", "0.3"), ("30", "90"), ("1", "60")])
def test_three_heartbeats_fit_in_a_lease_also_in_fractions(heartbeat: str, lease: str) -> None:
    config, _ = load_config({"JOB_LEASE_SECONDS": lease, "JOB_WORKER_HEARTBEAT_SECONDS": heartbeat})
    assert config.lease_seconds == float(lease)


def test_failpoints_need_the_test_mode() -> None:
    assert "JOB_TEST_MODE=1" in refusal({"JOB_FAILPOINTS": "claim=exit137"})
    assert load_config({"JOB_FAILPOINTS": "a=stop", "JOB_TEST_MODE": "1"})[0].failpoints == "a=stop"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("JOB_MAX_WORKRS", "JOB_MAX_WORKERS"),
        ("JOB_MAX_WORKER", "JOB_MAX_WORKERS"),
        ("JOB_TIMEOUT_SECOND", "JOB_TIMEOUT_SECONDS"),
        ("JOB_REDIS_URLS", "JOB_REDIS_URL"),
        ("JOB_MONGO_URL_FLE", "JOB_MONGO_URL_FILE"),
        ("JOB_RECOVERY_INTERVAL_SECS", "JOB_RECOVERY_INTERVAL_SECONDS"),
    ],
)
def test_a_likely_misspelling_is_refused_with_the_name_that_was_meant(wrong: str, meant: str) -> None:
    words = refusal({wrong: "1"})
    assert words.startswith(f"{wrong} is not a setting")
    assert meant in words


def test_other_unknown_names_are_only_reported() -> None:
    config, warnings = load_config({"JOB_NAME": "nightly", "JOB_ID": "7", "JOB_MAX_WORKERS": "2", "MY_JOB": "1"})
    assert config.max_workers == 2
    assert warnings == ["JOB_ID", "JOB_NAME"]


@pytest.mark.parametrize("name", ["JOB_REDIS_URL", "JOB_MONGO_URL"])
def test_a_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    url = f"{'redis' if 'REDIS' in name else 'mongodb'}://:s3cret@host:1"
    file = tmp_path / "secret"
    file.write_text(url + "\n", encoding="utf-8")
    config, warnings = load_config({name + "_FILE": str(file)})
    assert plain(config, name) == url
    assert warnings == []


def test_a_secret_from_two_places_is_refused(tmp_path: Path) -> None:
    words = refusal({"JOB_REDIS_URL": "redis://a", "JOB_REDIS_URL_FILE": str(tmp_path)})
    assert "JOB_REDIS_URL_FILE" in words


def test_a_secret_file_that_cannot_be_read_is_refused_without_its_content(tmp_path: Path) -> None:
    assert "JOB_MONGO_URL_FILE" in refusal({"JOB_MONGO_URL_FILE": str(tmp_path / "none")})
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refusal({"JOB_MONGO_URL_FILE": str(file)})


def test_secrets_are_not_shown_in_the_text_of_the_settings() -> None:
    config, _ = load_config({"JOB_REDIS_URL": "redis://:s3cret@h", "JOB_MONGO_URL": "mongodb://u:s3cret@h"})
    assert "s3cret" not in repr(config)
    assert "s3cret" not in config.model_dump_json()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        JobConfig().max_workers = 3  # type: ignore[misc]
