"""`example.word-count`: the words of a text. A plain function: it runs in a thread and may use the CPU as it likes."""

from __future__ import annotations

import re
from collections import Counter

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from headrace.contracts.executor import ExecutionPolicy, JobContext, JobExecutor

LINES_BETWEEN_LOOKS = 1000
_WORD = re.compile(r"\w+")


class WordCountPayload(BaseModel):
    """The text, and how many of its words to tell."""

    model_config = ConfigDict(extra="forbid")

    text: str
    top: int = Field(default=10, ge=1, le=1000)


class WordCount(JobExecutor[WordCountPayload]):
    """Counts words without regard to case."""

    job_type = "example.word-count"
    payload_model = WordCountPayload
    policy = ExecutionPolicy(timeout_seconds=30, max_retries=1)

    def execute(self, context: JobContext, payload: WordCountPayload) -> JsonValue:
        """Return `{"words": number, "distinct": number, "top": [[word, number], …]}`."""
        counts: Counter[str] = Counter()
        lines = payload.text.splitlines()
        for number, line in enumerate(lines):
            counts.update(word.casefold() for word in _WORD.findall(line))
            if number % LINES_BETWEEN_LOOKS == 0:
                # Raises JobCancelled or LeaseLost when the job should stop.
                context.sync.report_progress((number + 1) / len(lines), f"{number + 1} of {len(lines)} lines")
        top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: payload.top]
        return {"words": counts.total(), "distinct": len(counts), "top": [[word, number] for word, number in top]}
