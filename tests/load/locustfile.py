"""What people and programs do to a scheduler all day, at once.

Run by `run.py`, which starts the system behind it; or by hand: `locust -f tests/load/locustfile.py --host URL`.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import time
import uuid
from collections import Counter, deque
from pathlib import Path
from typing import Any

from locust import FastHttpUser, HttpUser, between, events, task

RUN = os.environ.get("HEADRACE_LOAD_RUN", uuid.uuid4().hex[:8])
SITE = os.environ.get("HEADRACE_LOAD_SITE") or None  # a compose file gives "" for what is not set
TYPES = os.environ.get("HEADRACE_LOAD_TYPES") or None
"""Job types, separated by commas: nothing else is submitted, whatever kind of job it stands for."""
FACTS = os.environ.get("HEADRACE_LOAD_FACTS")
TOKEN = os.environ.get("HEADRACE_TOKEN")
HEADERS = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}

accepted: dict[str, None] = {}
"""The id of every job that was answered with 201, in order."""
statuses: Counter[int] = Counter()
counted: Counter[str] = Counter()
numbers = itertools.count()


def make_job() -> dict[str, Any]:
    """A submission: mostly quick ones, some that fail and are tried again, some crawls, some for later."""
    kind = random.choices(("quick", "sleep", "steps", "flaky", "lost", "crawl"), (50, 25, 12, 8, 3, 2))[0]
    number = next(numbers)
    types: dict[str, tuple[str, dict[str, Any]]] = {
        "quick": ("noop", {"note": f"load {number}"}),
        "sleep": ("test.sleep", {"seconds": round(random.uniform(0.01, 0.2), 3), "result": {"number": number}}),
        "steps": ("test.steps", {"steps": 5, "seconds": 0.05}),
        "flaky": ("test.fail", {"until_attempt": 1, "message": "the first time"}),
        "lost": ("test.fail", {"how": "permanent", "message": f"lost cause {number % 5}"}),
        "crawl": ("crawl", {"start_urls": [SITE], "max_pages": 10}),
    }
    if (kind == "crawl" and SITE is None) or (TYPES is not None and types[kind][0] not in TYPES.split(",")):
        kind = "quick"
    name, payload = types[kind]
    job: dict[str, Any] = {"type": name, "payload": payload, "tags": {"load": RUN, "kind": kind}}
    job["priority"] = random.choices(("high", "medium", "low"), (1, 6, 3))[0]
    if random.random() < 0.15:
        job["delay_seconds"] = round(random.uniform(0.5, 5), 2)
    return job


def keep(job: dict[str, Any]) -> str:
    """Note a job that was accepted; its id."""
    accepted[job["id"]] = None
    return str(job["id"])


class Caller(FastHttpUser):
    """What all have in common: answers that are not wanted count as failures, back-pressure apart from the rest."""

    abstract = True
    default_headers = HEADERS

    def call(self, method: str, path: str, name: str, *wanted: int, headers: dict[str, str] | None = None,
             **more: Any) -> Any:  # fmt: skip
        """The JSON of an answer with a wanted status; None for 429, whose `Retry-After` is kept."""
        with self.client.request(method, path, name=name, headers=headers, catch_response=True, **more) as answer:
            statuses[answer.status_code] += 1
            if answer.status_code == 429:
                answer.request_meta["name"] = f"{name}, refused: queue full"
                if "Retry-After" in answer.headers:
                    answer.success()
                else:
                    answer.failure("429 without Retry-After")
                return None
            if answer.status_code in wanted:
                answer.success()
                return answer.json()
            answer.failure(f"{answer.status_code}: {answer.text[:200] if answer.text else ''}")
            return None


class Submitter(Caller):
    """A program that has jobs done, one by one and in batches, and looks after some of them."""

    weight = 6
    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        """Begin with nothing to look after."""
        self.mine: deque[str] = deque(maxlen=50)

    @task(10)
    def submit(self) -> None:
        """Submit one."""
        key = {"Idempotency-Key": uuid.uuid4().hex}
        job = self.call("POST", "/v1/jobs", "POST /v1/jobs", 201, json=make_job(), headers=key)
        if job is not None:
            self.mine.append(keep(job))

    @task(1)
    def submit_batch(self) -> None:
        """Submit 20 at once."""
        body = {"jobs": [make_job() | {"idempotency_key": uuid.uuid4().hex} for _ in range(20)]}
        found = self.call("POST", "/v1/jobs/batch", "POST /v1/jobs/batch (20)", 200, json=body)
        for item in found["results"] if found else ():
            counted[f"batch items answered {item['status']}"] += 1
            if item["status"] == 201:
                self.mine.append(keep(item["job"]))

    @task(1)
    def submit_again(self) -> None:
        """Send a submission twice with one key: the second answer is the same job."""
        key, job = {"Idempotency-Key": uuid.uuid4().hex}, make_job()
        first = self.call("POST", "/v1/jobs", "POST /v1/jobs", 201, json=job, headers=key)
        if first is None:
            return
        keep(first)
        again = self.call("POST", "/v1/jobs", "POST /v1/jobs (same key again)", 200, json=job, headers=key)
        counted["repeats that gave another job"] += again is not None and again["id"] != first["id"]

    @task(6)
    def poll(self) -> None:
        """Look at a job."""
        if self.mine:
            self.call("GET", f"/v1/jobs/{random.choice(self.mine)}", "GET /v1/jobs/{id}", 200)

    @task(1)
    def cancel(self) -> None:
        """Cancel a job, which may be over by now."""
        if self.mine:
            path = f"/v1/jobs/{random.choice(self.mine)}/cancel"
            self.call("POST", path, "POST /v1/jobs/{id}/cancel", 200, 202, 409)

    @task(1)
    def ask(self) -> None:
        """Ask why a job is where it is, and what happened to it."""
        if self.mine:
            job_id = random.choice(self.mine)
            self.call("GET", f"/v1/jobs/{job_id}/why", "GET /v1/jobs/{id}/why", 200)
            self.call("GET", f"/v1/jobs/{job_id}/history", "GET /v1/jobs/{id}/history", 200)


class Operator(Caller):
    """Somebody with a dashboard open."""

    weight = 1
    wait_time = between(0.5, 1.5)

    @task
    def look(self) -> None:
        """What a dashboard asks for."""
        self.call("GET", "/v1/pools", "GET /v1/pools", 200)
        state = random.choice(("queued", "processing", "completed", "failed"))
        self.call("GET", f"/v1/jobs?state={state}&limit=50", "GET /v1/jobs?state=", 200)
        self.call("GET", "/v1/dead-letters?group_by=fingerprint", "GET /v1/dead-letters (groups)", 200)


class Follower(HttpUser):
    """Somebody who submits a job and watches it to its end: what is measured is what they wait for."""

    weight = 2
    wait_time = between(0.2, 1.0)

    @task
    def follow(self) -> None:
        """Submit a job that is due at once and reads its events until it is over."""
        job = {name: value for name, value in make_job().items() if name != "delay_seconds"}
        began = time.perf_counter()
        name = "POST /v1/jobs"
        with self.client.post("/v1/jobs", name=name, json=job, headers=HEADERS, catch_response=True) as answer:
            statuses[answer.status_code] += 1
            if answer.status_code == 429:
                answer.request_meta["name"] = f"{name}, refused: queue full"
                answer.success()
                return
            if answer.status_code != 201:
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
                return
            job_id = keep(answer.json())
        name, path = "GET /v1/jobs/{id}/events (opened)", f"/v1/jobs/{job_id}/events"
        last = None
        more: dict[str, Any] = {"headers": HEADERS, "stream": True, "timeout": (5, 60), "catch_response": True}
        with self.client.get(path, name=name, **more) as stream:
            statuses[stream.status_code] += 1
            for line in stream.iter_lines(chunk_size=None):
                if line.startswith(b"event: "):
                    last = line[7:].decode()
                    counted[f"events {last}"] += 1
        took = (time.perf_counter() - began) * 1000
        is_over = last in {"job.completed", "job.failed", "job.cancelled"}
        error = None if is_over else RuntimeError(f"the stream ended with {last}")
        report("JOB", "submitted until its end was told", took, error)


class Listener(HttpUser):
    """A program that listens to everything, and comes back where it was."""

    weight = 1
    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        """Begin with what happens from now on."""
        self.place: str | None = None

    @task
    def listen(self) -> None:
        """Listen for some seconds."""
        headers = HEADERS | ({"Last-Event-ID": self.place} if self.place else {})
        until = time.monotonic() + random.uniform(3, 8)
        name = "GET /v1/events (opened)"
        more: dict[str, Any] = {"headers": headers, "stream": True, "timeout": (5, 60), "catch_response": True}
        with self.client.get("/v1/events", name=name, **more) as stream:
            statuses[stream.status_code] += 1
            for line in stream.iter_lines(chunk_size=None):
                if line.startswith(b"id: "):
                    self.place = line[4:].decode()
                elif line.startswith(b"event: "):
                    counted["events heard by listeners"] += 1
                    counted["gaps told to listeners"] += line == b"event: job.gap"
                if time.monotonic() > until:
                    return


def report(kind: str, name: str, took_ms: float, error: Exception | None) -> None:
    """Put a figure of our own beside those of requests."""
    events.request.fire(
        request_type=kind, name=name, response_time=took_ms, response_length=0, exception=error, context={}
    )


@events.quitting.add_listener
def write_facts(environment: Any, **_: Any) -> None:
    """Leave what was accepted and how requests were answered, for `run.py`."""
    if not FACTS:
        return
    rows = [
        {
            "name": name if name.startswith(method) else f"{method} {name}",
            "count": entry.num_requests,
            "failures": entry.num_failures,
            "median_ms": entry.get_response_time_percentile(0.5),
            "p95_ms": entry.get_response_time_percentile(0.95),
            "p99_ms": entry.get_response_time_percentile(0.99),
            "worst_ms": entry.max_response_time,
            "reasons": [
                f"{error.occurrences} times {error.error}"
                for error in environment.stats.errors.values()
                if (error.name, error.method) == (name, method)
            ],
        }
        for (name, method), entry in sorted(environment.stats.entries.items())
        if entry.num_requests
    ]
    broken = [found["msg"] for found in environment.runner.exceptions.values()]
    facts: dict[str, Any] = {
        "accepted": list(accepted),
        "statuses": statuses,
        "counted": counted,
        "rows": rows,
        "broken": broken,
    }
    total = environment.stats.total
    facts["seconds"] = (total.last_request_timestamp or total.start_time) - total.start_time
    Path(FACTS).write_text(json.dumps(facts), encoding="utf-8")
