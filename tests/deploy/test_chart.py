"""The helm chart gives valid manifests, keeps secrets out of them and refuses values that cannot work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from qa_service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Render = Callable[..., list[dict[str, Any]]]

# Value sets that together reach every branch of the templates.
VARIANTS = {
    "as shipped": (),
    "everything on": (
        "asrServer.autoscaling.enabled=true",
        "kafka.securityProtocol=SASL_SSL",
        "kafka.username=qa",
        "worker.rules=rules: []",
        "settings.QA_LOG_LEVEL=debug",
        "serviceAccount.annotations.team=qa",
        "image.pullSecrets[0].name=registry",
        "worker.nodeSelector.pool=calls",
        "worker.tolerations[0].key=calls",
        "worker.podAnnotations.note=yes",
        "asrServer.models.existingClaim=models",
        "asrServer.keys.secret=asr-keys",
        "asrServer.tls.secret=asr-tls",
        "asr.caSecret=asr-tls",
    ),
    "everything off": (
        "asrServer.enabled=false",
        "migration.enabled=false",
        "serviceAccount.create=false",
        "podDisruptionBudget.enabled=false",
    ),
}


@pytest.fixture
def chart(repository: Path) -> Path:
    return repository / "helm"


@pytest.fixture
def render(check, chart: Path) -> Render:
    """The manifests that the chart gives for some values."""

    def run(*values: str) -> list[dict[str, Any]]:
        settings = [f"--set={value}" for value in values]
        return list(yaml.safe_load_all(check("helm", "template", "qa", chart, *settings)))

    return run


def pod_specs(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest["spec"]["template"]["spec"]


def containers(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for spec in pod_specs(manifests):
        yield from spec["containers"] + spec.get("initContainers", [])


def pod_of(manifests: list[dict[str, Any]], part: str) -> dict[str, Any]:
    (deployment,) = (
        m for m in manifests if m["kind"] == "Deployment" and m["metadata"]["name"].endswith(part)
    )
    return deployment["spec"]["template"]["spec"]


def only_container(manifests: list[dict[str, Any]], part: str) -> dict[str, Any]:
    (container,) = pod_of(manifests, part)["containers"]
    return container


def volumes(manifests: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    return pod_of(manifests, part)["volumes"]


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable for variable in container.get("env", ())}


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_the_manifests_are_valid_kubernetes(values, check, chart, tmp_path):
    settings = [f"--set={value}" for value in values]
    check("helm", "lint", "--strict", chart, *settings)
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(check("helm", "template", "qa", chart, *settings))

    check("kubernetes-validate", "--strict", "--quiet", manifests)


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_no_container_may_more_than_it_needs(values, render):
    manifests = render(*values)

    assert all(spec["securityContext"]["runAsNonRoot"] for spec in pod_specs(manifests))
    for container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_secrets_are_referred_to_and_never_held(render):
    manifests = render(*VARIANTS["everything on"])
    secret_names = ("PASSWORD", "API_KEY", "DATABASE_URL")
    values = [
        variable
        for container in containers(manifests)
        for name, variable in environment(container).items()
        if name.endswith(secret_names)
    ]

    assert "Secret" not in {manifest["kind"] for manifest in manifests}
    assert {variable["valueFrom"]["secretKeyRef"]["name"] for variable in values} == {"qa-service"}
    assert {variable["valueFrom"]["secretKeyRef"]["key"] for variable in values} == {
        "database-url",
        "asr-api-key",
        "kafka-password",
    }


def test_every_variable_is_a_setting_of_the_service(render):
    manifests = render(*VARIANTS["everything on"])
    given = {name for container in containers(manifests) for name in environment(container)}
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap" and "rules.yaml" not in manifest["data"]:
            given |= set(manifest["data"])
    # OpenSSL's own variable, for the worker's way to the recogniser.
    known = {f"QA_{name.upper()}" for name in Settings.model_fields} | {"SSL_CERT_FILE"}

    assert given - known == set()


@pytest.mark.parametrize(("secret", "scheme"), [("", "HTTP"), ("asr-tls", "HTTPS")])
def test_the_recogniser_is_probed_as_it_is_served(render, secret, scheme):
    manifests = render(f"asrServer.tls.secret={secret}")
    server = only_container(manifests, "asr-server")
    probes = [server[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    worker = only_container(manifests, "worker")

    assert {probe["scheme"] for probe in probes} == {scheme}
    assert {probe["path"] for probe in probes} == {"/livez", "/readyz"}
    assert worker["livenessProbe"]["httpGet"]["scheme"] == "HTTP"
    assert ("QA_SERVER_TLS_CERT_FILE" in environment(server)) == bool(secret)


def test_with_tls_the_worker_takes_that_way_and_sees_the_ca_alone(render):
    manifests = render(*VARIANTS["everything on"])
    config = next(m for m in manifests if m["kind"] == "ConfigMap" and "QA_ASR_URL" in m["data"])
    (ca,) = (volume for volume in volumes(manifests, "worker") if volume["name"] == "ca")

    assert config["data"]["QA_ASR_URL"].startswith("wss://")
    assert ca["secret"] == {"secretName": "asr-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}


def test_files_that_the_recogniser_is_told_of_lie_in_mounted_secrets(render):
    manifests = render(*VARIANTS["everything on"], "asrServer.keys.key=accepted")
    server = only_container(manifests, "asr-server")
    mounted = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    secrets = {
        v["name"]: v["secret"]["secretName"] for v in volumes(manifests, "asr-server") if "secret" in v
    }
    files = {
        name: variable["value"].rpartition("/")
        for name, variable in environment(server).items()
        if name.endswith("_FILE")
    }

    assert {name: (secrets[mounted[folder]], file) for name, (folder, _, file) in files.items()} == {
        "QA_SERVER_API_KEYS_FILE": ("asr-keys", "accepted"),
        "QA_SERVER_TLS_CERT_FILE": ("asr-tls", "tls.crt"),
        "QA_SERVER_TLS_KEY_FILE": ("asr-tls", "tls.key"),
    }


def test_the_worker_is_sent_to_the_charts_own_recogniser(render):
    config = next(m for m in render() if m["kind"] == "ConfigMap")
    service = next(m for m in render() if m["kind"] == "Service")

    assert config["data"]["QA_ASR_URL"] == f"ws://{service['metadata']['name']}:8000/api-ws/v1/realtime"


def test_without_a_recogniser_of_its_own_the_cloud_is_left_to_the_settings(render):
    config = next(m for m in render(*VARIANTS["everything off"]) if m["kind"] == "ConfigMap")

    assert "QA_ASR_URL" not in config["data"]


def test_the_schema_is_migrated_before_anything_else_exists(render):
    job = next(m for m in render() if m["kind"] == "Job")
    spec = job["spec"]["template"]["spec"]

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert "serviceAccountName" not in spec, "the account is created after the hook"
    assert "envFrom" not in spec["containers"][0], "the ConfigMap is created after the hook"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("kafka.bootstrap=no-port", "bootstrap"),
        ("kafka.securityProtocol=TLS", "securityProtocol"),
        ("asr.url=http://recogniser", "url"),
        ("settings.LOG_LEVEL=debug", "LOG_LEVEL"),
        ("worker.replica=3", "replica"),
        ("asrServer.tls.certificate=asr", "certificate"),
        ("kafka.securityProtocol=SASL_SSL", "kafka.username is needed"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(value, named, refuse, chart):
    assert named in refuse("helm", "template", "qa", chart, f"--set={value}")
