"""The command `headrace-local`."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from headrace.contracts.errors import HeadraceError
from headrace.local.demo import run_demo
from headrace.local.foreground import make_console, run_in_foreground, say
from headrace.local.system import LocalSystem
from headrace.local.up import run_up

EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 something failed, 2 bad usage, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        return asyncio.run(_run(arguments))
    except KeyboardInterrupt:  # before or after the time in which Ctrl-C means an orderly stop
        return EXIT_INTERRUPTED


async def _run(arguments: argparse.Namespace) -> int:
    console = make_console()
    settings = {"JOB_CRAWL_ALLOW_PRIVATE": "1"} if _needs_private(arguments) else {}
    reload = getattr(arguments, "reload", False)
    if reload and "JOB_SHUTDOWN_GRACE_SECONDS" not in os.environ:
        settings["JOB_SHUTDOWN_GRACE_SECONDS"] = "5"  # who has saved a file waits for the restart
    try:
        system = LocalSystem(
            data=arguments.data,
            logs_to_terminal=arguments.logs,
            usual_ports=arguments.command == "up",
            settings=settings,
        )
    except (HeadraceError, OSError) as error:
        say(console, f"Failed: {error}")
        return 1
    if arguments.command == "up":
        return await run_in_foreground(system, run_up(system, console, reload=reload), console=console, interrupted=0)
    demo = run_demo(system, console, url=arguments.url, max_pages=arguments.max_pages)
    return await run_in_foreground(system, demo, console=console, interrupted=EXIT_INTERRUPTED)


def _needs_private(arguments: argparse.Namespace) -> bool:
    """Whether the crawler must be let into private networks: for our own site or for one asked for."""
    if arguments.command != "demo":
        return False
    return arguments.url is None or _is_private(urlsplit(arguments.url).hostname or "")


def _is_private(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # the crawler will say that it cannot be found
    return any(not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headrace-local", description="Headrace on embedded real stores, in one command."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the whole system in the foreground until Ctrl-C")
    demo = commands.add_parser("demo", help="run it, crawl a site, print the result, and stop")
    up.add_argument("--reload", action="store_true", help="restart the services whose code changes, for development")
    for command in (up, demo):
        command.add_argument("--data", type=Path, metavar="DIR", help="keep jobs and logs there (default: temporary)")
        command.add_argument("--logs", action="store_true", help="show what the services log, instead of keeping it")
    demo.add_argument("url", nargs="?", type=_web_address, metavar="URL", help="the site (default: a generated one)")
    demo.add_argument("--max-pages", type=_positive, default=500, metavar="N", help="stop after so many (default: 500)")
    return parser


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise argparse.ArgumentTypeError("must be an http:// or https:// address")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
