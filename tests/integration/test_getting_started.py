"""Every command of docs/getting-started.md, in its order, against a running system."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from whole import Whole

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PAGE = Path(__file__).parents[2] / "docs/getting-started.md"


async def test_the_commands_of_the_page_do_what_it_says(whole: Whole) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    script = "set -euo pipefail\n" + "".join(blocks).replace("http://127.0.0.1:8080", whole.system.urls["scheduler"])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "completed" in done.stdout
    assert '"state":"queued"' in done.stdout.replace(" ", "")
