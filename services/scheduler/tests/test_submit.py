"""A submission that is accepted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


async def test_an_accepted_job_is_stored_with_its_defaults_and_waits_in_redis(api, queue) -> None:
    await api.complete()
    response = await api.post({"type": "any", "payload": {"a": 1}})
    assert response.status == 201
    view = await response.json()
    print(view)
    assert response.headers["Location"] == f"/v1/jobs/{view['id']}"
