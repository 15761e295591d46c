"""Plug-ins that exist for one test: modules and entry points in a folder on `sys.path`."""

from __future__ import annotations

from pathlib import Path

HEAD = """
from typing import Any
from pydantic import BaseModel
from headrace.contracts.executor import ExecutionPolicy, JobExecutor
class Payload(BaseModel):
    n: int = 0
class Good(JobExecutor[Payload]):
    job_type = "good"
    payload_model = Payload
    policy = ExecutionPolicy(pool="plug", slots_per_process=3)
    contract_version = 4
    def execute(self, context: Any, payload: Payload) -> int:
        return payload.n
"""


def write_plugin(
    folder: Path, source: str, points: dict[str, str], *, name: str = "plug", group: str = "headrace.executors"
) -> None:
    """Write a distribution: module `NAME_module`, and entry points name → attribute of it."""
    (folder / f"{name}_module.py").write_text(HEAD + source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {name}_module:{attribute}" for point, attribute in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
