from __future__ import annotations

from dataclasses import replace

import pytest
from tests.chaos.history import History, Operation

from .c00_faults import check_faults
from .c01_lost import check_lost
from .c02_ghosts import check_ghosts
from .every import check
from .histories import DONE, RUN, fault, finds, index, job, more, planned, ran, submit, whole

GOOD = whole(job("a", *DONE), job("b", "submitted@1", "claimed@2", "retry@3", "claimed@4", "failed@5", max_retries=1))


def test_a_good_history_passes_every_checker_and_an_empty_one_is_no_evidence() -> None:
    assert [report.violations for report in check(GOOD) if not report.passed] == []
    assert {report.looked_at for report in check(History(RUN))} == {0}


def test_the_good_history_names_its_numbers() -> None:
    figures = check_lost(GOOD).figures
    assert (figures["accepted"], figures["completed"], figures["failed"], figures["lost"]) == (2, 1, 1, 0)


# -- C0 ------------------------------------------------------------------------------------------------------------

KILL = planned("kill", "worker", at=5)


def test_faults_that_fired_as_planned() -> None:
    assert finds(check_faults, History(RUN, planned=(KILL,), fired=(fault("kill", "worker", at=5.2),))) == set()


@pytest.mark.parametrize(
    ("fired", "rule"),
    [
        ((), "not-fired"),
        ((fault("kill", "scheduler", at=5),), "another"),
        ((fault("kill", "worker", at=5), fault("kill", "worker", at=6, id_="f2")), "unplanned"),
    ],
)
def test_faults_that_did_not(fired: tuple[object, ...], rule: str) -> None:
    assert finds(check_faults, History(RUN, planned=(KILL,), fired=fired)) == {rule}  # type: ignore[arg-type]


# -- C1 ------------------------------------------------------------------------------------------------------------


def test_accepted_and_gone() -> None:
    assert finds(check_lost, replace(GOOD, documents=GOOD.documents[:1])) == {"lost"}


def test_accepted_and_never_over() -> None:
    for stuck in (("submitted@1",), ("submitted@1", "claimed@2"), ("submitted@1", "claimed@2", "retry@3")):
        assert finds(check_lost, whole(job("a", *DONE), job("b", *stuck))) == {"stuck"}


def test_stored_by_an_unknown_answer_and_never_over() -> None:
    unknown = submit("b", index=1, outcome="info", status=503)
    assert finds(
        check_lost, more(whole(job("a", *DONE)), operations=[unknown], documents=[job("b", "submitted@1")])
    ) == {"stuck"}


def test_accepted_without_saying_which() -> None:
    assert finds(check_lost, more(GOOD, operations=[submit(None, index=7)])) == {"no-id"}


def test_an_unknown_answer_without_a_document_is_no_loss() -> None:
    assert finds(check_lost, more(GOOD, operations=[submit("c", index=7, outcome="info", status=None)])) == set()


# -- C2 ------------------------------------------------------------------------------------------------------------


def test_a_document_that_nobody_asked_for() -> None:
    assert finds(check_ghosts, more(GOOD, documents=[job("c", *DONE)])) == {"ghost"}


@pytest.mark.parametrize(("status", "problem"), [(429, "queue-full"), (422, "validation"), (503, "store-unavailable")])
def test_refused_and_stored_all_the_same(status: int, problem: str) -> None:
    refused = submit("c", index=7, outcome="fail", status=status, problem=problem, job_id=None)
    assert finds(check_ghosts, more(GOOD, documents=[job("c", *DONE)], operations=[refused])) == {"refused-kept"}


@pytest.mark.parametrize("status", [None, 503, 500])
def test_a_document_of_an_unknown_answer_is_none(status: int | None) -> None:
    unknown = submit("c", index=7, outcome="info", status=status, job_id=None)
    assert finds(check_ghosts, more(GOOD, documents=[job("c", *DONE)], operations=[unknown])) == set()


def test_a_repeat_with_its_key_accounts_for_the_first_try() -> None:
    lost_reply = submit("c", index=7, outcome="info", status=None, job_id=None, key="k", tag="t1")
    repeat = submit("c", index=8, status=200, key="k", tag="t2", at=2.0)
    kept = job("c", *DONE, key="k", tag="t1")
    assert finds(check_ghosts, more(GOOD, documents=[kept], operations=[lost_reply, repeat])) == set()


def test_one_key_made_two_jobs() -> None:
    operations = [submit("c", index=7, key="k"), submit("d", index=8, key="k", outcome="info", job_id=None)]
    twice = [job("c", *DONE, key="k"), job("d", *DONE, key="k")]
    assert finds(check_ghosts, more(GOOD, documents=twice, operations=operations)) == {"key-twice"}


def test_one_request_without_a_key_made_two_jobs() -> None:
    twice = [job("c", *DONE, tag="t"), job("d", *DONE, tag="t")]
    assert finds(
        check_ghosts, more(GOOD, documents=twice, operations=[submit("c", index=7, tag="t", outcome="info")])
    ) == {"request-twice"}


def test_the_same_key_of_two_tenants_is_two_keys() -> None:
    operations = [submit("c", index=7, key="k", tenant="x"), submit("d", index=8, key="k", tenant="y")]
    two = [job("c", *DONE, key="k", tenant="x"), job("d", *DONE, key="k", tenant="y")]
    assert finds(check_ghosts, more(GOOD, documents=two, operations=operations)) == set()


def test_clients_of_one_key_were_given_two_jobs() -> None:
    operations = [submit("a", index=7, key="k"), submit("b", index=8, key="k")]
    assert finds(check_ghosts, more(GOOD, operations=operations)) == {"two-answers"}


def test_one_key_accepted_with_two_bodies() -> None:
    operations = [submit("a", index=7, key="k"), submit("a", index=8, key="k", digest="d2", status=200)]
    assert finds(check_ghosts, more(GOOD, operations=operations)) == {"other-body"}


def test_something_ran_that_has_no_document() -> None:
    assert finds(check_ghosts, more(GOOD, effects=[ran("forged", at=3)])) == {"ghost-run"}


def test_the_index_was_told_of_a_job_that_was_never_stored() -> None:
    assert finds(check_ghosts, more(GOOD, queue_events=index("ready:a@1=5"))) == set()
    assert finds(check_ghosts, more(GOOD, queue_events=index("ready:c@1=5"))) == {"pushed-unstored"}
    assert finds(check_ghosts, more(GOOD, queue_events=index("ready:forged-f1-0@1=5"))) == set(), "our own lie"


def test_a_replay_is_asked_for() -> None:
    answered = Operation(
        index=7, client="c1", op="replay", invoked=6, completed=7, outcome="ok", status=201, job_id="c"
    )
    again = job("c", *DONE, replay_of="b")
    assert finds(check_ghosts, more(GOOD, documents=[again], operations=[answered])) == set()
    lost_reply = replace(answered, outcome="info", status=None, job_id="b")
    assert finds(check_ghosts, more(GOOD, documents=[again], operations=[lost_reply])) == set()
    assert finds(check_ghosts, more(GOOD, documents=[again])) == {"ghost"}
