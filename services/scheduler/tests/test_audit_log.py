"""What tokens did stands in the audit log, for admins alone."""

from __future__ import annotations

import pytest

from headrace.contracts.errors import OutcomeUnknownError
from headrace.contracts.states import JobState
from headrace.runtime.store.documents import to_document
from headrace.scheduler.operators import OPERATORS
from headrace.testing.builders import make_job


@pytest.fixture
async def api(make_api, config, tokens_file):
    return await make_api(config.model_copy(update={"api_tokens_file": tokens_file}))


async def test_everything_an_operator_does_is_noted(api):
    by, admin = api.bearer("operator"), api.bearer("admin")
    job = await (await api.post({"type": "any", "payload": 1}, **admin)).json()
    await api.cancel(job["id"], **by)
    await api.cancel(job["id"], **by)  # was cancelled already: nothing was done
    await api.client.post(f"/v1/jobs/{job['id']}/replay", headers=by)
    await api.database.jobs.insert_many([to_document(make_job(type="any", state=JobState.FAILED)) for _ in range(3)])
    asked = {"filter": {"pool": "default"}, "limit": 2}
    await api.client.post("/v1/dead-letters/replay", json=asked | {"dry_run": True}, headers=by)
    await api.client.post("/v1/dead-letters/replay", json=asked, headers=by)
    await api.client.post("/v1/dead-letters/discard", json=asked, headers=by)
    await api.client.post("/v1/pools/cpu/pause", json={"reason": "why"}, headers=by)
    await api.client.post("/v1/pools/cpu/resume", headers=by)
    await api.client.patch("/v1/pools/cpu", json={"size_limit": None, "max_slots": 3}, headers=by)
    entries = (await api.get("/v1/audit", **admin))["entries"]
    assert [(entry["what"], entry["target"], entry["filter"], entry["count"]) for entry in entries[::-1]] == [
        ("cancel", job["id"], None, 1),
        ("replay", job["id"], None, 1),
        ("replay", None, {"pool": "default", "limit": 2}, 2),
        ("discard", None, {"pool": "default", "limit": 2}, 2),
        ("pause", "cpu", {"reason": "why"}, 1),
        ("resume", "cpu", None, 1),
        ("patch", "cpu", {"size_limit": None, "max_slots": 3}, 1),
    ]
    assert {entry["who"] for entry in entries} == {"operator"}
    assert all(entry["when"].endswith("Z") for entry in entries)
    page = await api.get("/v1/audit?limit=3", **admin)
    rest = await api.get(f"/v1/audit?cursor={page['next_cursor']}", **admin)
    assert page["entries"] + rest["entries"] == entries
    assert rest["next_cursor"] is None
    await api.problem(await api.client.get("/v1/audit?cursor=x", headers=admin), 422, "validation")


async def test_an_action_stands_though_its_entry_could_not_be_written(api, monkeypatch):
    async def fails(**_):
        raise OutcomeUnknownError("no")

    monkeypatch.setattr(api.app[OPERATORS].audit.entries, "write", fails)
    response = await api.client.post("/v1/pools/cpu/pause", json={}, headers=api.bearer("admin"))
    assert (await response.json())["paused"]
