"""The rendered overlays, held to rules.

`render` does what kustomize does with the few features that these files use (resources, namespace, JSON patches by kind
and name), and refuses any other, so nothing is judged that was not rendered.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.contracts.config import load_config

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
OVERLAYS = ("base", "overlays/development", "overlays/production")
PORTS = {"scheduler": 8080, "monitor": 8081, "worker": 8082, "recovery": 8083}
Part = dict[str, Any]


def render(folder: Path) -> list[Part]:
    """The resources of a kustomization."""
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(wanted) - {"apiVersion", "kind", "namespace", "resources", "patches"}
    assert not unknown, f"render() does not know {unknown}: teach it, or the rules judge something else"
    parts: list[Part] = []
    for name in wanted["resources"]:
        path = folder / name
        parts += render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for patch in wanted.get("patches", []):
        target = patch["target"]
        found = [part for part in parts if (part["kind"], part["metadata"]["name"]) == (target["kind"], target["name"])]
        assert len(found) == 1, target
        for step in json.loads(patch["patch"]):
            apply(found[0], step)
    for part in parts:
        if "namespace" in wanted:
            part["metadata"]["namespace"] = wanted["namespace"]
    return deepcopy(parts)


def apply(part: Part, step: dict[str, Any]) -> None:
    """One step of a JSON patch (RFC 6902) on members of objects."""
    *way, last = step["path"].strip("/").split("/")
    for word in way:
        part = part[word]
    assert step["op"] in {"add", "replace"}, step
    assert (last in part) == (step["op"] == "replace"), f"{step}: is there nothing, or already something?"
    part[last] = step["value"]


@pytest.fixture(params=OVERLAYS)
def parts(request: pytest.FixtureRequest) -> list[Part]:
    return render(FOLDER / request.param)


def of(parts: list[Part], kind: str) -> dict[str, Part]:
    return {part["metadata"]["name"]: part for part in parts if part["kind"] == kind}


def test_every_service_is_deployed_reachable_and_protected_from_evictions(parts: list[Part]) -> None:
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert of(parts, kind).keys() == PORTS.keys(), kind
    for name, port in PORTS.items():
        labels = of(parts, "Deployment")[name]["spec"]["template"]["metadata"]["labels"]
        selectors = [
            of(parts, "Deployment")[name]["spec"]["selector"]["matchLabels"],
            of(parts, "Service")[name]["spec"]["selector"],
            of(parts, "PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"],
        ]
        assert all(selector.items() <= labels.items() for selector in selectors)
        (container,) = of(parts, "Deployment")[name]["spec"]["template"]["spec"]["containers"]
        assert container["ports"] == [{"name": "http", "containerPort": port}]
        assert {"name": "JOB_HTTP_PORT", "value": str(port)} in container["env"]
        assert of(parts, "Service")[name]["spec"]["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]


def test_every_pod_is_hardened(parts: list[Part]) -> None:
    for part in of(parts, "Deployment").values():
        spec = part["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 10_000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all("hostPath" not in volume for volume in spec["volumes"])
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}


def test_liveness_asks_no_store_and_readiness_does(parts: list[Part]) -> None:
    for part in of(parts, "Deployment").values():
        (container,) = part["spec"]["template"]["spec"]["containers"]
        paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
        assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_a_pod_has_longer_to_stop_than_its_drain_takes(parts: list[Part]) -> None:
    grace = float(of(parts, "ConfigMap")["headrace-settings"]["data"]["JOB_SHUTDOWN_GRACE_SECONDS"])
    for part in of(parts, "Deployment").values():
        assert part["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= grace + 10
        assert part["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_recovery_has_a_standby_and_workers_are_scaled_by_the_monitor(parts: list[Part]) -> None:
    assert of(parts, "Deployment")["recovery"]["spec"]["replicas"] == 2
    assert "replicas" not in of(parts, "Deployment")["worker"]["spec"], "KEDA and an apply would fight over it"
    scaled = of(parts, "ScaledObject")["worker"]["spec"]
    assert scaled["scaleTargetRef"] == {"name": "worker"}
    assert 1 <= scaled["minReplicaCount"] < scaled["maxReplicaCount"]
    for trigger in scaled["triggers"]:
        assert trigger["type"] == "metrics-api"
        assert trigger["metadata"]["url"].startswith(f"http://monitor:{PORTS['monitor']}/v1/autoscale/")
        assert trigger["metadata"]["valueLocation"] == "desired"
        assert trigger["authenticationRef"]["name"] in of(parts, "TriggerAuthentication")


def test_everything_is_scraped_and_nothing_is_reached_from_elsewhere(parts: list[Part]) -> None:
    (monitor,) = of(parts, "ServiceMonitor").values()
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert all(wanted <= part["metadata"]["labels"].items() for part in of(parts, "Service").values())
    assert {part["spec"].get("type", "ClusterIP") for part in of(parts, "Service").values()} == {"ClusterIP"}
    assert of(parts, "NetworkPolicy")["headrace"]["spec"]["ingress"] == [{"from": [{"podSelector": {}}]}]


def test_settings_are_known_and_no_secret_is_among_them(parts: list[Part], tmp_path: Path) -> None:
    data = of(parts, "ConfigMap")["headrace-settings"]["data"]
    assert all(isinstance(value, str) for value in data.values())
    for name in ("redis_url", "mongo_url"):
        (tmp_path / name).write_text({"redis_url": "redis://u:p@r", "mongo_url": "mongodb://u:p@m"}[name])
    here = {name: value.replace("/run/headrace/app", str(tmp_path)) for name, value in data.items()}
    config, unknown = load_config(here)
    assert unknown == []
    assert config.api_tokens_file is not None
    assert not of(parts, "Secret")


def test_a_patch_that_hits_nothing_is_an_error() -> None:
    with pytest.raises(AssertionError, match="is there nothing"):
        apply({"spec": {}}, {"op": "replace", "path": "/spec/replicas", "value": 1})
