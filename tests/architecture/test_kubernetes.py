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
        assert len(found) == 1, f"{folder.name}: the patch of {target} hits {len(found)} resources, not one"
        for step in json.loads(patch["patch"]):
            apply(found[0], step)
    for part in parts:
        if "namespace" in wanted:
            part["metadata"]["namespace"] = wanted["namespace"]
    return deepcopy(parts)


def apply(part: Part, step: dict[str, Any]) -> None:
    """One step of a JSON patch (RFC 6902) on members of objects, also of those in lists."""
    *way, last = step["path"].strip("/").split("/")
    at: Any = part
    for word in way:
        at = at[int(word)] if isinstance(at, list) else at[word]
    assert step["op"] in {"add", "replace"}, f"{step}: apply() knows add and replace; teach it"
    assert (last in at) == (step["op"] == "replace"), f"{step}: is there nothing, or already something?"
    at[last] = step["value"]


@pytest.fixture(params=OVERLAYS)
def parts(request: pytest.FixtureRequest) -> list[Part]:
    return render(FOLDER / request.param)


def of(parts: list[Part], kind: str) -> dict[str, Part]:
    return {part["metadata"]["name"]: part for part in parts if part["kind"] == kind}


def test_every_service_is_deployed_reachable_and_protected_from_evictions(parts: list[Part]) -> None:
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert of(parts, kind).keys() == PORTS.keys(), f"every service has one {kind} of its name; add or remove"
    for name, port in PORTS.items():
        labels = of(parts, "Deployment")[name]["spec"]["template"]["metadata"]["labels"]
        selectors = [
            of(parts, "Deployment")[name]["spec"]["selector"]["matchLabels"],
            of(parts, "Service")[name]["spec"]["selector"],
            of(parts, "PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"],
        ]
        assert all(selector.items() <= labels.items() for selector in selectors), (
            f"{name}: a selector of its Deployment, Service or PodDisruptionBudget does not match the pods' labels"
        )
        (container,) = of(parts, "Deployment")[name]["spec"]["template"]["spec"]["containers"]
        why = f"{name} listens on {port} as `http`: its container, JOB_HTTP_PORT and Service must say the same"
        assert container["ports"] == [{"name": "http", "containerPort": port}], why
        assert {"name": "JOB_HTTP_PORT", "value": str(port)} in container["env"], why
        ports = of(parts, "Service")[name]["spec"]["ports"]
        assert ports == [{"name": "http", "port": port, "targetPort": "http"}], why


def test_every_pod_is_hardened(parts: list[Part]) -> None:
    for name, part in of(parts, "Deployment").items():
        spec = part["spec"]["template"]["spec"]
        why = f"S27: a pod may change nothing and is nobody on its node; compare {name} with the other services"
        assert spec["automountServiceAccountToken"] is False, why
        assert spec["securityContext"]["runAsNonRoot"] is True, why
        assert spec["securityContext"]["runAsUser"] >= 10_000, why
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, why
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), why
        assert all("hostPath" not in volume for volume in spec["volumes"]), why
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, why
            for bound in ("limits", "requests"):
                assert container["resources"][bound].keys() >= {"cpu", "memory"}, f"{name}: give it {bound} of both"


def test_liveness_asks_no_store_and_readiness_does(parts: list[Part]) -> None:
    for part in of(parts, "Deployment").values():
        (container,) = part["spec"]["template"]["spec"]["containers"]
        paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
        assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}, (
            "a liveness probe that asks a store restarts every pod when that store is away: /healthz, and /readyz for"
            f" readiness alone; {part['metadata']['name']} has {paths}"
        )


def test_a_pod_has_longer_to_stop_than_its_drain_takes(parts: list[Part]) -> None:
    grace = float(of(parts, "ConfigMap")["headrace-settings"]["data"]["JOB_SHUTDOWN_GRACE_SECONDS"])
    for part in of(parts, "Deployment").values():
        assert part["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= grace + 10, (
            f"{part['metadata']['name']} would be killed while it drains: 10 s more than JOB_SHUTDOWN_GRACE_SECONDS"
        )
        assert part["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, (
            f"{part['metadata']['name']}: a rollout starts the successor before it stops a pod; maxUnavailable: 0"
        )


def test_recovery_has_a_standby_and_workers_are_scaled_by_the_monitor(parts: list[Part]) -> None:
    assert of(parts, "Deployment")["recovery"]["spec"]["replicas"] == 2, "one leads, one stands by"
    assert "replicas" not in of(parts, "Deployment")["worker"]["spec"], "KEDA and an apply would fight over it"
    scaled = of(parts, "ScaledObject")["worker"]["spec"]
    assert scaled["scaleTargetRef"] == {"name": "worker"}, "the workers are what is scaled"
    assert 1 <= scaled["minReplicaCount"] < scaled["maxReplicaCount"], "without a worker no type is registered"
    for trigger in scaled["triggers"]:
        why = (
            "the monitor's /v1/autoscale/POOL tells the wanted number of workers as `desired`, to a token that may read"
        )
        assert trigger["type"] == "metrics-api", why
        host = f"monitor.{of(parts, 'ScaledObject')['worker']['metadata'].get('namespace', 'headrace')}"
        assert trigger["metadata"]["url"].startswith(f"http://{host}:{PORTS['monitor']}/v1/autoscale/"), (
            f"KEDA asks from a name space of its own, where `monitor` is nobody: patch in http://{host}:…"
        )
        assert trigger["metadata"]["valueLocation"] == "desired", why
        assert trigger["authenticationRef"]["name"] in of(parts, "TriggerAuthentication"), why


def test_everything_is_scraped_and_nothing_is_reached_from_elsewhere(parts: list[Part]) -> None:
    (monitor,) = of(parts, "ServiceMonitor").values()
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert all(wanted <= part["metadata"]["labels"].items() for part in of(parts, "Service").values()), (
        "the ServiceMonitor finds services by app.kubernetes.io/part-of: give every Service that label"
    )
    kinds = {part["spec"].get("type", "ClusterIP") for part in of(parts, "Service").values()}
    assert kinds == {"ClusterIP"}, "nothing is published from here: a proxy with TLS stands before what is reached"
    own, others = of(parts, "NetworkPolicy")["headrace"]["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {}}]}, "the parts reach each other, in their own name space"
    names = [each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in others["from"]]
    assert (names, others["ports"]) == (["keda", "monitoring"], [{"protocol": "TCP", "port": "http"}]), (
        "from elsewhere only what scales and what scrapes come in, and only to the port `http`"
    )


def test_settings_are_known_and_no_secret_is_among_them(parts: list[Part], tmp_path: Path) -> None:
    data = of(parts, "ConfigMap")["headrace-settings"]["data"]
    assert all(isinstance(value, str) for value in data.values()), "quote numbers: a ConfigMap holds texts"
    for name in ("redis_url", "mongo_url"):
        (tmp_path / name).write_text({"redis_url": "redis://u:p@r", "mongo_url": "mongodb://u:p@m"}[name])
    here = {name: value.replace("/run/headrace/app", str(tmp_path)) for name, value in data.items()}
    config, unknown = load_config(here)
    assert unknown == [], "no service knows these settings: mend deploy/kubernetes/base/settings.yaml"
    assert config.api_tokens_file is not None, "S1: without JOB_API_TOKENS_FILE a pod does not start"
    assert not of(parts, "Secret"), "S13: secrets are made by the operator and never stand in a manifest"


def test_a_patch_that_hits_nothing_is_an_error() -> None:
    with pytest.raises(AssertionError, match="is there nothing"):
        apply({"spec": {}}, {"op": "replace", "path": "/spec/replicas", "value": 1})
