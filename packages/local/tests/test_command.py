from __future__ import annotations

import asyncio
import re
import sys
from argparse import Namespace
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import aiohttp
import pytest

from headrace.local import __main__ as command
from headrace.local import service, system
from headrace.local.demo_site import DemoSite, make_content
from headrace.local.service import ServiceFailedError, ServiceProcess, ServiceSpec
from headrace.local.system import SERVICES, LocalSystem
from headrace.testing.eventually import eventually


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["demo", "ftp://a"], ["demo", "nonsense"], ["demo", "http://a:0"], ["demo", "http://[x"]]
    + [["demo", "--max-pages", wrong] for wrong in ("0", "-1", "many")],
)
def test_bad_usage_is_explained_and_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert "usage: headrace-local" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("up", None, False),
        ("demo", None, True),
        ("demo", "http://127.0.0.1:8600/", True),
        ("demo", "http://localhost/", True),
        ("demo", "http://[::1]/", True),
        ("demo", "http://192.168.1.1/", True),
        ("demo", "http://1.1.1.1/", False),
        ("demo", "http://no-such-host.invalid/", False),
    ],
)
def test_private_networks_are_opened_only_for_a_site_in_one(name: str, url: str | None, expected: bool) -> None:
    assert command._needs_private(Namespace(command=name, url=url)) is expected


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert command.main(["up", "--data", str(tmp_path / "file" / "below")]) == 1
    assert capsys.readouterr().out.startswith("Failed: ")


def test_a_missing_store_is_one_line_and_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HEADRACE_MONGOD", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert command.main(["demo"]) == 1
    assert "HEADRACE_MONGOD" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_four_services_are_started_as_modules_on_their_documented_ports() -> None:
    assert {spec.name: spec.usual_port for spec in SERVICES} == {
        "scheduler": 8080,
        "monitor": 8081,
        "worker": 8082,
        "recovery": 8083,
    }
    assert all(spec.command[1:] == ("-m", f"headrace.{spec.name}") for spec in SERVICES)


def test_a_usual_port_is_taken_where_it_is_free_and_otherwise_another(unused_tcp_port: int) -> None:
    assert system._choose_port(unused_tcp_port, usual=True) == unused_tcp_port
    assert system._choose_port(unused_tcp_port, usual=False) != unused_tcp_port
    assert system._choose_port(1, usual=True) != 1 or system.is_free(1)


def test_settings_of_this_process_reach_the_services_but_not_where_the_stores_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JOB_MAX_WORKERS", "3")
    monkeypatch.setenv("JOB_MONGO_URL_FILE", "/elsewhere")
    monkeypatch.setenv("JOB_SHUTDOWN_GRACE_SECONDS", "soon")
    local = LocalSystem(logs_to_terminal=True, settings={"JOB_CRAWL_ALLOW_PRIVATE": "1"})
    try:
        local.redis._port = local.mongo._port = 1234
        env = local._environment()
    finally:
        local._close_folders()
    assert env["JOB_MAX_WORKERS"] == "3"
    assert "JOB_MONGO_URL_FILE" not in env
    assert env["JOB_MONGO_URL"] == "mongodb://127.0.0.1:1234/?replicaSet=rs0"
    assert env["JOB_SCHEDULER_URL"] == f"http://127.0.0.1:{local.ports['scheduler']}"
    assert (env["JOB_LOG_FORMAT"], env["JOB_CRAWL_ALLOW_PRIVATE"]) == ("console", "1")
    assert local._grace_seconds() == 0
    assert local.urls == {}
    assert local.logs == "on standard error"


async def test_a_service_that_is_never_ready_is_given_up_with_what_its_probe_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in = (sys.executable, str(Path(__file__).with_name("stand_in.py")), "never-ready")
    local = LocalSystem(services=[ServiceSpec("scheduler", 0, stand_in)])
    starting = asyncio.create_task(local.start())
    try:
        await eventually(
            lambda: any("unavailable" in each._not_ready_because for each in local.services.values()),
            within=60, what="the probe has answered",
        )  # fmt: skip
        monkeypatch.setattr(system, "_READY_SECONDS", 0)
        with pytest.raises(ServiceFailedError, match=r"(?s)scheduler is not ready: .*unavailable.*the end of .*hello"):
            await starting
        assert set(local.urls) == {"scheduler", "redis", "mongodb"}
    finally:
        await local.stop()


@pytest.mark.parametrize(
    ("script", "words"), [("exit 3", "exit code 3; it logged nothing"), ("kill -9 $$", "ended by SIGKILL")]
)
def test_an_end_is_described_by_code_or_signal(tmp_path: Path, script: str, words: str) -> None:
    started = ServiceProcess(ServiceSpec("x", 0, ("/bin/sh", "-c", script)), port=1, env={}, log_file=tmp_path / "log")
    started._process.wait()
    with pytest.raises(ServiceFailedError, match=words):
        started.check_runs()
    started.terminate()
    started.kill()


def test_an_end_without_a_log_file_points_to_the_terminal() -> None:
    started = ServiceProcess(ServiceSpec("x", 0, ("/bin/false",)), port=1, env={}, log_file=None)
    started.kill()
    with pytest.raises(service.ServiceFailedError, match="its log is above"):
        started.check_runs()


def test_the_demo_site_is_the_same_every_time_and_reaches_all_its_pages() -> None:
    content = make_content()
    assert content == make_content()
    seen: set[str] = set()
    todo = ["/"]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        if path in content.redirects:
            todo.append(content.redirects[path])
        links = re.findall(r'href="([^"]+)"', content.pages.get(path, ""))
        todo += [urldefrag(urljoin(f"http://x{path}", link))[0].removeprefix("http://x") for link in links]
    assert seen == {*content.pages, *content.redirects, *content.missing, *content.private}
    assert len(content.pages) == 307


async def test_the_demo_site_answers_as_its_content_says() -> None:
    async with DemoSite(delay_seconds=0) as site, aiohttp.ClientSession(site.url) as session:
        for path, status in [("/", 200), ("/old/5", 301), ("/missing", 404), ("/private/note-1", 200)]:
            async with session.get(path, allow_redirects=False) as answer:
                assert answer.status == status, path
        async with session.get("/old/5") as answer:
            assert str(answer.url).endswith("/section-02/article-01")
            assert await answer.text() == site.content.pages["/section-02/article-01"]
        async with session.get("/robots.txt") as answer:
            assert "Disallow: /private/" in await answer.text()
    assert site.requests[:2] == ["/", "/old/5"]
