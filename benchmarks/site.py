"""Serve a folder of HTML from memory on a free loopback port, in a process of its own.

python -m benchmarks.site FOLDER        # prints the port, then serves until its standard input ends
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

FOLDERS = (Path("/usr/share/doc/python3/html"), Path("/usr/share/doc/python3.11/html"))


def find_folder() -> Path | None:
    """Debian's Python documentation; None when python3-doc is not installed."""
    return next((folder.resolve() for folder in FOLDERS if (folder / "index.html").exists()), None)


@asynccontextmanager
async def run_site(folder: Path) -> AsyncIterator[str]:
    """Serve beside this process; yields the origin."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.site",
        str(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()


def _read(folder: Path) -> dict[str, bytes]:
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*.html")}


async def serve(folder: Path) -> None:
    """Serve until standard input ends."""
    files = _read(folder)

    async def answer(request: web.Request) -> web.Response:
        body = files.get(request.path)
        return web.Response(status=404) if body is None else web.Response(body=body, content_type="text/html")

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
