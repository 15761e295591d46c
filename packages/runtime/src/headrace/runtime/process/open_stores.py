"""Stores that anybody may use: told at every start, because a job system's stores decide what runs."""

from __future__ import annotations

from urllib.parse import urlsplit

from headrace.contracts.config import JobConfig
from headrace.runtime.process.listen import is_loopback


def open_stores(config: JobConfig) -> list[str]:
    """The settings whose store is on another machine and is addressed without a password.

    Args:
        config: The settings. What is no URL is not judged here: the store's own client refuses it.
    """
    found = []
    for name, secret in (("JOB_REDIS_URL", config.redis_url), ("JOB_MONGO_URL", config.mongo_url)):
        url = urlsplit(secret.get_secret_value())
        login, _, hosts = url.netloc.rpartition("@")
        by_certificate = "authmechanism=mongodb-x509" in url.query.lower()
        if url.scheme == "unix" or ":" in login or by_certificate:
            continue
        if any(not is_loopback(_host(host)) for host in hosts.split(",") if host):
            found.append(name)
    return found


def _host(text: str) -> str:
    return text[: text.index("]") + 1] if text.startswith("[") and "]" in text else text.partition(":")[0]
