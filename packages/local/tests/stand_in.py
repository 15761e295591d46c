"""A stand-in for a service: answers its probe and plays one crawl job. How it behaves is its argument."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from aiohttp import web

NOW = "2025-01-01T00:00:00.000Z"
JOB = {
    "id": "0199aaaa-0000-7000-8000-000000000001", "type": "crawl", "pool": "crawl", "priority": "medium",
    "state": "processing", "indexed": True, "attempt": 1, "failures": 0, "crashes": 0, "max_retries": 3,
    "timeout_seconds": 60.0, "created_at": NOW, "run_at": NOW, "claimed_at": None, "started_at": None,
    "finished_at": None, "progress": None, "checkpoint_at": None, "cancel_requested_at": None, "error": None,
    "tags": {}, "owner": None, "unique_key": None, "replay_of": None, "discarded_at": None, "payload": {},
    "result": None,
}  # fmt: skip
RESULT = {"pages": 2, "failed": 1, "skipped": 3, "duplicates": 4, "bytes": 2048, "seconds": 0.5, "stopped": "complete"}
FAILURE = {"type": "crash_loop", "message": "died three times", "fingerprint": "f", "at": NOW}
PAGE = {"url": "http://a/", "final_url": None, "state": "ok", "status": 200, "depth": 0, "title": "A", "bytes": 1}


class Scheduler:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.submissions = 0
        self.looks = 0

    async def submit(self, request: web.Request) -> web.Response:
        self.submissions += 1
        self.payload = (await request.json())["payload"]
        if self.submissions == 1:  # its worker has registered a moment ago
            problem = {"type": "/problems/unknown-job-type", "title": "t", "status": 422, "detail": "not yet"}
            return web.json_response(problem, status=422)
        return web.json_response(JOB, status=201)

    async def get(self, request: web.Request) -> web.Response:
        self.looks += 1
        if self.mode == "dies-later":
            os._exit(9)
        progress = {"fraction": min(1.0, self.looks / 4), "message": f"{self.looks} of 4 pages", "at": NOW}
        if self.looks < 4:
            return web.json_response(JOB | {"progress": progress})
        end = {"state": "failed", "error": FAILURE} if self.mode == "job-fails" else {"state": "completed"}
        return web.json_response(JOB | {"progress": progress, "result": RESULT} | end)

    async def pages(self, request: web.Request) -> web.Response:
        pages = [PAGE | {"error": None, "title": repr(self.payload)}, PAGE | {"error": "x"}]
        return web.json_response({"pages": pages, "next_cursor": None})


async def ready(request: web.Request) -> web.Response:
    never = sys.argv[1] == "never-ready"
    return web.json_response({"status": "unavailable" if never else "ok"}, status=503 if never else 200)


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


async def main() -> int:
    mode = sys.argv[1]
    say(f"hello from {mode} with {os.environ['JOB_REDIS_URL']}")
    if mode == "dies":
        say("JOB_SOMETHING: must be something else")
        return 2
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    scheduler = Scheduler(mode)
    app = web.Application()
    app.router.add_get("/readyz", ready)
    app.router.add_post("/v1/jobs", scheduler.submit)
    app.router.add_get("/v1/jobs/{id}", scheduler.get)
    app.router.add_get("/v1/jobs/{id}/pages", scheduler.pages)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, os.environ["JOB_HTTP_HOST"], int(os.environ["JOB_HTTP_PORT"])).start()
    stopped = asyncio.Event()
    if mode != "stubborn":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    say("stopped in order")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
