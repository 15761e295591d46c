"""What a job said, over HTTP."""

from __future__ import annotations

from headrace.runtime.store.job_logs import PER_ATTEMPT, JobLogs, LogBatch


async def test_lines_of_a_job_are_answered_in_stretches(api):
    job = await api.submit()
    path = f"/v1/jobs/{job['id']}/logs"
    assert await api.get(path) == {"lines": [], "next_after": 0}
    lines = [(number, 1.5, "info", f"line {number}") for number in (1, 2, 3)]
    await JobLogs(api.database).append([LogBatch(job["id"], 2, 1, lines, 3)])
    page = await api.get(f"{path}?limit=2")
    assert page["lines"][0] == {
        "seq": 2 * PER_ATTEMPT + 1,
        "attempt": 2,
        "at": "1970-01-01T00:00:01.500Z",
        "level": "info",
        "text": "line 1",
    }
    assert page["next_after"] == 2 * PER_ATTEMPT + 2
    rest = await api.get(f"{path}?after={page['next_after']}")
    assert [line["text"] for line in rest["lines"]] == ["line 3"]
    assert (await api.get(f"{path}?after={rest['next_after']}")) == {"lines": [], "next_after": rest["next_after"]}


async def test_a_job_that_does_not_exist_has_no_lines_and_bad_queries_are_named(api):
    job = await api.submit()
    await api.problem(await api.client.get("/v1/jobs/nobody/logs"), 404, "not-found")
    for query in ("after=-1", "after=x", "limit=0", "limit=1001", "before=1"):
        response = await api.client.get(f"/v1/jobs/{job['id']}/logs?{query}")
        assert response.status == 422, query
