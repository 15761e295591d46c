"""`example.digest`: the SHA-256 of what a URL answers. A coroutine: a hundred of them wait in one process."""

from __future__ import annotations

import hashlib

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, JsonValue

from headrace.contracts.executor import ExecutionPolicy, JobContext, JobExecutor, PermanentError, Retry

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
CHUNK_BYTES = 65_536


class DigestPayload(BaseModel):
    """What to fetch, and how much of it at most."""

    model_config = ConfigDict(extra="forbid")

    url: HttpUrl
    limit_bytes: int = Field(default=16 * 1024 * 1024, ge=1, le=1024**3)


class Digest(JobExecutor[DigestPayload]):
    """Fetches and hashes as it reads, so the size of the answer costs no memory."""

    job_type = "example.digest"
    payload_model = DigestPayload
    policy = ExecutionPolicy(pool="example-io", timeout_seconds=60, slots_per_process=100)

    async def execute(self, context: JobContext, payload: DigestPayload) -> JsonValue:
        """Return `{"sha256": text, "bytes": number}`.

        Raises:
            Retry: The server is busy or broken; `Retry-After` in seconds is kept.
            PermanentError: It refuses, or answers more than `limit_bytes`.
        """
        hasher, size = hashlib.sha256(), 0
        async with aiohttp.ClientSession() as session, session.get(str(payload.url)) as response:
            if response.status in TRY_AGAIN:
                wait = response.headers.get("Retry-After", "")
                raise Retry(f"status {response.status}", delay_seconds=float(wait) if wait.isdecimal() else None)
            if response.status != 200:
                raise PermanentError(f"status {response.status}")
            expected = response.content_length
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                size += len(chunk)
                if size > payload.limit_bytes:
                    raise PermanentError(f"more than {payload.limit_bytes} bytes")
                hasher.update(chunk)
                await context.report_progress(size / expected if expected else 0.0, f"{size} bytes")
        return {"sha256": hasher.hexdigest(), "bytes": size}
