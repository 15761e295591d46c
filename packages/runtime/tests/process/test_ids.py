from __future__ import annotations

import re
import uuid

from headrace.runtime.process.ids import new_incarnation, new_job_id, new_token


def test_job_ids_of_one_process_rise_strictly_and_are_version_seven():
    ids = [new_job_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert {uuid.UUID(text).version for text in ids} == {7}


def test_incarnations_and_tokens_are_random_and_safe_in_keys():
    assert len({new_incarnation() for _ in range(1000)}) == 1000
    assert re.fullmatch(r"w-[0-9a-f]{16}", new_incarnation())
    assert re.fullmatch(r"[0-9a-f]{32}", new_token())
