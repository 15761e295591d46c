"""Alerts and Grafana's dashboard: what Prometheus takes, alerts that fire when they must, metrics that there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest
from whole import start_whole

from headrace.testing.eventually import eventually

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "headrace.json").read_text(encoding="utf-8"))
DRAWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own checker; it is in Debian's package `prometheus`."""
    found = shutil.which("promtool")
    if found is None and os.environ.get("HEADRACE_REQUIRE_PROMTOOL") != "1":
        pytest.skip("promtool is not installed (Debian package prometheus)")
    assert found is not None, "HEADRACE_REQUIRE_PROMTOOL=1 and there is no promtool"
    return found


@pytest.mark.parametrize("arguments", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]])
def test_the_rules_pass_promtool(promtool: str, arguments: list[str]) -> None:
    done = subprocess.run([promtool, *arguments], cwd=FOLDER, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_dashboard_draws_passes_promtool_too(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"drawn:{place}", "expr": expr} for place, expr in enumerate(DRAWN)]
    (tmp_path / "drawn.yml").write_text(json.dumps({"groups": [{"name": "drawn", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", "drawn.yml"], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(DRAWN) > 10


def test_every_alert_has_a_test_and_a_section_of_the_operators_page() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES)
    tested = (FOLDER / "alerts_test.yml").read_text(encoding="utf-8")
    assert len(alerts) == len(set(alerts)) > 10
    assert [name for name in alerts if name not in tested] == []
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.+)$", page, re.M)
    }
    links = re.findall(r"docs/operations\.md#([\w-]+)", RULES)
    assert len(links) == len(alerts)
    assert sorted(set(links) - headings) == []


@pytest.mark.slow
async def test_every_metric_of_the_rules_and_the_dashboard_is_one_that_the_services_show() -> None:
    found = re.findall(r"\bjob_\w+", "\n".join([*re.findall(r"expr: (.+)", RULES), *DRAWN]))
    wanted = {name.removesuffix("_bucket") for name in found}
    assert len(wanted) > 8
    async with start_whole({}) as whole, aiohttp.ClientSession() as session:

        async def missing() -> bool:
            shown: set[str] = set()
            for name in ("scheduler", "worker", "recovery", "monitor"):
                url = whole.service(name).url
                async with session.get(f"{url}/metrics") as answer:
                    shown |= set(re.findall(r"^# TYPE (\w+) ", await answer.text(), re.M))
            assert wanted <= shown, wanted - shown
            return True

        await eventually(missing, within=20)
