"""The API keeps to its own document: the committed one is today's, and generated requests find no difference."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import SecretStr
from schemathesis.checks import CHECKS, load_all_checks

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.local.stores import MongoServer
from headrace.runtime.store.database import Database
from headrace.runtime.store.job_types import JobType, JobTypes
from headrace.runtime.web.auth import hash_token
from headrace.scheduler import openapi
from headrace.testing.eventually import eventually

COMMITTED = Path(__file__).parents[1] / "openapi.json"
EXAMPLES = 20
LINE_LIMIT = 800
"""Characters of a generated query or path: escaped, a wrong one may be longer than a request line may."""
HEADERS = {"Authorization": "Bearer admin-secret"}

load_all_checks()
POSITIVE, NEGATIVE = CHECKS.get_one("positive_data_acceptance"), CHECKS.get_one("negative_data_rejection")
SCHEMA = schemathesis.openapi.from_dict(json.loads(openapi.text()))
# It never ends; its tests are those of the streams.
SCHEMA = SCHEMA.exclude(operation_id="get_v1_events")

NOT_ALL_SAID = {
    ("POST", "/v1/jobs"),  # one of delay_seconds and run_at
    ("POST", "/v1/jobs/{id}/replay"),  # a key that stands for the replay of another job
    ("PATCH", "/v1/pools/{name}"),  # min_slots is not above max_slots
}
"""Operations with rules between values, which a schema does not say well."""


def test_the_committed_document_is_todays() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == openapi.text(), (
        "routes or models changed: run python -m headrace.scheduler.openapi services/scheduler/openapi.json"
    )


def test_the_command_writes_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert openapi.main([str(tmp_path / "made.json")]) == 0
    assert (tmp_path / "made.json").read_text(encoding="utf-8") == openapi.text()
    assert openapi.main([]) == 0
    assert capsys.readouterr().out == openapi.text()
    assert openapi.main(["a", "b"]) == 2


class Served:
    """The scheduler as a process: the requests' values are drawn from a random source that nothing else may touch."""

    def __init__(self, config: JobConfig, log: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOB_")}
        settings = {
            "JOB_REDIS_URL": config.redis_url.get_secret_value(),
            "JOB_MONGO_URL": config.mongo_url.get_secret_value(),
            "JOB_MONGO_DATABASE": config.mongo_database,
            "JOB_NAMESPACE": config.namespace,
            "JOB_QUEUE_SIZE_LIMIT": "100000",
            "JOB_API_TOKENS_FILE": str(config.api_tokens_file),
            "JOB_HTTP_PORT": "0",
        }
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headrace.scheduler"], env=kept | settings, stdout=file, stderr=file
            )
        self.url = ""
        self.job_ids: list[str] = []

    async def submit(self) -> None:
        """Wait for it, then submit a job that is cancelled at once and one that waits."""
        self.url = await eventually(self._url, within=30, what="the scheduler")
        for _ in range(2):
            answer = requests.post(
                f"{self.url}/v1/jobs", json={"type": "any", "payload": 1}, headers=HEADERS, timeout=9
            )
            self.job_ids.append(answer.json()["id"])
        requests.post(f"{self.url}/v1/jobs/{self.job_ids[0]}/cancel", headers=HEADERS, timeout=9)

    def end(self) -> int:
        self._process.terminate()
        return self._process.wait(30)

    def _url(self) -> str:
        lines = [json.loads(line) for line in self._log.read_text(encoding="utf-8").splitlines() if line[:1] == "{"]
        return next((str(line["url"]) for line in lines if line["event"] == "service.ready"), "")


@pytest.fixture(scope="module")
def served(redis_url: str, mongo_server: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("openapi")
    tokens = folder / "tokens.toml"
    tokens.write_text(f'[admin]\nhash = "{hash_token("admin-secret")}"\nscopes = ["admin"]\n', encoding="utf-8")
    name = f"test-{uuid.uuid4().hex[:12]}"
    config = JobConfig(
        redis_url=SecretStr(redis_url),
        mongo_url=SecretStr(mongo_server.url),
        mongo_database=name,
        namespace=name,
        api_tokens_file=tokens,
    )

    async def prepare(running: Served) -> None:
        database = Database(config, appname="test")
        await JobTypes(database).register([JobType("any", ExecutionPolicy(pool="default"), {})])
        database.close()
        await running.submit()

    running = Served(config, folder / "log")
    try:
        asyncio.run(prepare(running))
        yield running
    finally:
        code = running.end()
        mongo_server.drop_database(name)
    assert code == 0


def make_deeper(case: schemathesis.Case, served: Served) -> None:
    """Let right requests name things that exist: without that nearly all would end at 404 or an unknown type."""
    if case.meta is None or case.meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        return
    path = case.operation.path
    if "id" in case.path_parameters and len(case.path_parameters["id"]) % 2:
        # The events of a job that is over end; those of the other would go on.
        case.path_parameters["id"] = served.job_ids[0 if path.endswith("/events") else len(path) % 2]
    if path == "/v1/jobs" and isinstance(case.body, dict) and isinstance(case.body.get("type"), str):
        case.body["type"] = "any"


def excluded_for(case: schemathesis.Case) -> list[Any]:
    """Checks that ask for what a document cannot say."""
    path, method = case.operation.path, case.operation.method.upper()
    if path == "/v1/jobs/batch":
        # Each job of a batch stands for itself: a wrong one is told in its place of a 200. In a right one it is the
        # registry, not the schema, that knows the types.
        return [POSITIVE, NEGATIVE]
    # Cursors are those that an answer gave.
    if "cursor" in (case.query or {}) or (method, path) in NOT_ALL_SAID:
        return [POSITIVE]
    return []


def _add_test(operation_id: str) -> None:
    # One function per operation: the ids that the tool makes are all the same, which xdist does not bear.
    def keeps_to_the_document(case: schemathesis.Case, served: Served) -> None:
        if len(str(case.query)) + len(str(case.path_parameters)) > LINE_LIMIT:
            return  # no server reads such a request; what ours answers is tested beside its runner
        make_deeper(case, served)
        case.call_and_validate(base_url=served.url, headers=HEADERS, timeout=15, excluded_checks=excluded_for(case))

    name = f"test_{operation_id}_keeps_to_the_document"
    keeps_to_the_document.__name__ = keeps_to_the_document.__qualname__ = name
    bounded = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    globals()[name] = SCHEMA.include(operation_id=operation_id).parametrize()(bounded(keeps_to_the_document))


for _found in SCHEMA.get_all_operations():
    _add_test(_found.ok().definition.raw["operationId"])


def test_the_page_is_made_of_the_document_and_needs_nothing_from_elsewhere(served: Served) -> None:
    assert requests.get(f"{served.url}/docs", timeout=9).status_code == 401
    answer = requests.get(f"{served.url}/docs", headers=HEADERS, timeout=9)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script" not in policy
    assert "<script" not in answer.text
    assert "//" not in answer.text.replace("<!doctype html>", "")
    document = json.loads(openapi.text())
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in answer.text
