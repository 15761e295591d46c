from __future__ import annotations

import json
import logging
import sys
import warnings

import pytest
import structlog
from aiohttp.http_exceptions import BadHttpMethod

from headrace.contracts.config import JobConfig
from headrace.runtime.process.logs import configure_logging, redact_url


@pytest.fixture(autouse=True)
def restored_logging():
    root, server = logging.getLogger(), logging.getLogger("aiohttp.server")
    before = root.handlers[:], root.level, server.filters[:]
    yield
    root.handlers, server.filters = before[0], before[2]
    root.setLevel(before[1])
    logging.captureWarnings(False)
    structlog.reset_defaults()


def configured(**settings) -> structlog.stdlib.BoundLogger:
    configure_logging(JobConfig(**settings), service="scheduler")
    return structlog.get_logger("headrace.test")


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_one_json_line_on_stderr_with_a_utc_time(capsys):
    configured().info("job.settled", job_id="j1", duration_ms=3)
    (event,) = lines(capsys)
    assert event.pop("at").endswith("Z")
    assert event == {
        "level": "info",
        "event": "job.settled",
        "logger": "headrace.test",
        "service": "scheduler",
        "job_id": "j1",
        "duration_ms": 3,
    }


def test_the_level_is_obeyed_by_our_events_and_by_libraries(capsys):
    log = configured(log_level="warning")
    log.info("quiet")
    logging.getLogger("library").info("quiet too")
    log.warning("loud")
    logging.getLogger("library").warning("loud too")
    assert [event["event"] for event in lines(capsys)] == ["loud", "library.log"]


def test_what_libraries_log_goes_the_same_way(capsys):
    configured()
    logging.getLogger("motor").warning("lost %s", "primary")
    logging.getLogger("odd").log(25, "between two levels")
    first, second = lines(capsys)
    assert (first["event"], first["logger"], first["message"]) == ("library.log", "motor", "lost primary")
    assert second["level"] == "info"


def test_a_library_that_formats_wrongly_does_not_break_the_log(capsys):
    configured()
    logging.getLogger("library").warning("no place for %d", "text")
    assert lines(capsys)[0]["message"] == "no place for %d"


def test_warnings_become_events(capsys):
    configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old habit", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "old habit" in lines(capsys)[0]["message"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_control_characters_cannot_forge_a_line(capsys, log_format):
    evil = "a\nb\r\x1b[31m\x7f\u2028\x85c"
    configured(log_format=log_format).info("evil", text=evil, nested={"k": [evil]})
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert not {"\r", "\x1b", "\x7f", "\u2028", "\x85"} & set(output)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_passwords_in_urls_are_blotted_out_wherever_they_stand(capsys, log_format):
    log = configured(log_format=log_format)
    log.info("store.lost", url="redis://user:p@ss@host:6379/0", deep=[{"u": "mongodb://a:b@h/?password=xyz&w=1"}])
    try:
        raise RuntimeError("cannot reach redis://:hidden@host")
    except RuntimeError:
        log.exception("failed")
    output = capsys.readouterr().err
    for secret in ("p@ss", "xyz", "a:b", "hidden"):
        assert secret not in output
    assert "redis://***@host:6379/0" in output


def test_text_without_a_url_is_left_alone():
    assert redact_url("mail me at a@b.c") == "mail me at a@b.c"
    assert redact_url("http://host/path?a=1@x") == "http://host/path?a=1@x"


def test_the_console_form_shows_a_traceback_on_lines_of_its_own(capsys):
    log = configured(log_format="console")
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("job.failed", job_id="j1")
    first, *rest = capsys.readouterr().err.splitlines()
    assert "job.failed job_id='j1'" in first
    assert rest[-1] == "ValueError: boom"


def test_a_value_that_cannot_be_written_costs_the_value_only(capsys):
    class Broken:
        def __str__(self) -> str:
            raise ValueError("no text")

    configured().info("odd", value=Broken(), keys={(1, 2): 3})
    assert lines(capsys)[0]["value"].startswith("<unprintable Broken")


def test_a_closed_stderr_does_not_stop_the_caller(monkeypatch, tmp_path):
    log = configured()
    closed = (tmp_path / "log").open("w")
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    log.info("nobody hears this")


def test_a_malformed_request_leaves_no_traceback(capsys):
    configured()
    logger = logging.getLogger("aiohttp.server")
    logger.error("Error handling request", exc_info=BadHttpMethod("\x16\x03"))
    logger.error("Error handling request", exc_info=RuntimeError("ours"))
    (event,) = lines(capsys)
    assert "RuntimeError: ours" in event["exception"]


def test_a_malformed_request_is_one_line_at_debug(capsys):
    configured(log_level="debug")
    logging.getLogger("aiohttp.server").error("Error handling request", exc_info=BadHttpMethod("\x16\x03"))
    (event,) = lines(capsys)
    assert (event["level"], event["message"]) == ("debug", "malformed request refused: BadHttpMethod")
    assert "exception" not in event


def test_the_driver_may_not_log_commands_even_at_debug(capsys):
    configured(log_level="debug")
    logging.getLogger("pymongo.command").debug("insert with payload")
    assert lines(capsys) == []
