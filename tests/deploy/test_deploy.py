"""Manifests: an API server would take them, and the jobs take the commands in them."""

import copy
import functools
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from support.commands import commands_in, parsed
from support.manifests import crd_schema, pods_of, problems, read, rendered, strict
from support.places import ROOT

DEPLOY = ROOT / "cluster" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CRDS = ROOT.parent / "shared" / "crds"
KINDS = {
    "cluster": "RayCluster",
    "ingest": "RayJob",
    "nightly": "RayJob",
    "raycronjob": "RayCronJob",
    "refine": "RayJob",
}
"""folder -> the kind of the one custom resource that is applied from it"""
CUSTOM = ["base", *KINDS]
"""`base` is applied from no folder of its own; it is what the others are made from"""
BASE = read((KUBERNETES / "base" / "rayjob.yaml").read_text())[0]


@functools.cache
def applied(folder: str) -> list[dict[str, Any]]:
    """What kustomize makes of a folder; to be read, not changed."""
    return rendered(KUBERNETES / folder)


def custom(folder: str) -> dict[str, Any]:
    """The custom resource of a folder."""
    if folder == "base":
        return BASE
    (resource,) = [made for made in applied(folder) if made["apiVersion"] == "ray.io/v1"]
    return resource


def all_documents() -> Iterator[dict[str, Any]]:
    """As they are in the files, before kustomize changes them."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        yield from read(path.read_text())


def find(kind: str, name: str | None = None) -> dict[str, Any]:
    """The one document of a kind, or of a kind and a name."""
    of_kind = [document for document in all_documents() if document["kind"] == kind]
    (manifest,) = [made for made in of_kind if name in (None, made["metadata"]["name"])]
    return manifest


def run_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    """The RayJob's own fields, of a RayJob or of a RayCronJob's template."""
    return manifest["spec"].get("jobTemplate", manifest["spec"])


def cluster_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    """The RayCluster's own fields, of a RayCluster or of what makes one."""
    return run_spec(manifest).get("rayClusterSpec", manifest["spec"])


def groups_of(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {group["groupName"]: group for group in cluster_spec(manifest)["workerGroupSpecs"]}


@pytest.fixture(scope="session")
def schema_of() -> Callable[[str], dict[str, Any]]:
    """The strict schema of a kind of custom resource."""
    if not CRDS.is_dir():
        pytest.skip(f"needs KubeRay's CRDs in {CRDS}, which are not there")
    made: dict[str, dict[str, Any]] = {}

    def get(kind: str) -> dict[str, Any]:
        if kind not in made:
            made[kind] = crd_schema(CRDS / f"ray.io_{kind.lower()}s.yaml", "v1")
        return made[kind]

    return get


@pytest.mark.parametrize("name", CUSTOM)
@pytest.mark.slow
def test_a_custom_resource_fits_the_schema_of_its_crd(name, schema_of) -> None:
    made = copy.deepcopy(custom(name))
    made["metadata"].pop("namespace", None)
    assert problems(made, schema_of(made["kind"])) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_folder_makes_one_custom_resource_of_the_base(name) -> None:
    assert custom(name)["kind"] == KINDS[name]
    assert sum(made["kind"].startswith("Ray") for made in applied(name)) == 1


POD = "spec/rayClusterSpec/headGroupSpec/template/spec"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("spec/backofLimit", 2, "backofLimit"),
        ("spec/backoffLimit", "2", "'2' is not of type 'integer'"),
        ("spec/rayClusterSpec/authOptions/mode", "tokens", "'tokens' is not one of"),
        ("spec/rayClusterSpec/workerGroupSpecs/0/maxReplica", 3, "maxReplica"),
        ("spec/rayClusterSpec/workerGroupSpecs/0/rayStartParams/num-cpus", 8, "is not of type"),
        (f"{POD}/containers/0/imagePullpolicy", "Always", "imagePullpolicy"),
        (f"{POD}/containers/0/envFrom/0/secretref", {"name": "x"}, "secretref"),
        (f"{POD}/containers/0/resources/limits/memory", "8 GB", "8 GB"),
        (f"{POD}/containers/0/resources/limits/cpu", [2], "[2]"),
        (f"{POD}/restartPolicie", "Never", "restartPolicie"),
        ("metadata/label", {}, "label"),
        ("metadata/name", "Simgan", "Simgan"),
        ("kind", "RayJobs", "'RayJob' was expected"),
    ],
)
def test_a_slip_in_a_manifest_is_found(schema_of, path: str, value: Any, said: str) -> None:
    manifest = copy.deepcopy(BASE)
    *way, last = path.split("/")
    inside: Any = manifest
    for step in way:
        inside = inside[int(step)] if isinstance(inside, list) else inside[step]
    inside[last] = value
    (problem,) = problems(manifest, schema_of("RayJob"))
    assert said in problem


def test_a_missing_field_is_found(schema_of) -> None:
    manifest = copy.deepcopy(BASE)
    del manifest["spec"]["rayClusterSpec"]["headGroupSpec"]
    (problem,) = problems(manifest, schema_of("RayJob"))
    assert "'headGroupSpec' is a required property" in problem


def test_a_schema_open_to_unknown_fields_stays_open() -> None:
    closed = {"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": True}}}
    assert problems({"a": 1}, strict(closed)) == problems({"a": "50%"}, strict(closed)) == []
    assert len(problems({"a": [], "b": 1}, strict(closed))) == 2
    kept = closed | {"x-kubernetes-preserve-unknown-fields": True}
    assert problems({"a": 1, "b": 1}, strict(kept)) == []


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="twice: a"):
        read("a: 1\na: 2\n")


@pytest.mark.slow
def test_kubernetes_own_kinds_fit_their_schemas() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    checked = []
    for document in all_documents():
        if not document["apiVersion"].startswith(("ray.io/", "kustomize.config.k8s.io/")):
            validate.validate(document, "1.31", strict=True)
            checked.append(document["kind"])
    kinds = ["ConfigMap", "CronJob", "CronJob", "Role", "RoleBinding", "ServiceAccount"]
    assert sorted(checked) == kinds
    slip = find("CronJob", "simgan-nightly")
    slip["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(validate.ValidationError, match="concurencyPolicy"):
        validate.validate(slip, "1.31", strict=True)


def test_the_cron_job_starts_one_run_a_night_and_keeps_the_history() -> None:
    spec = find("CronJob", "simgan-nightly")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["schedule"] == custom("raycronjob")["spec"]["schedule"]
    assert 0 < spec["startingDeadlineSeconds"] < 24 * 3600
    assert spec["successfulJobsHistoryLimit"] > 0 < spec["failedJobsHistoryLimit"]
    run = BASE["spec"]
    attempt_s = run["preRunningDeadlineSeconds"] + run["activeDeadlineSeconds"]
    all_attempts_s = (run["backoffLimit"] + 1) * attempt_s
    assert all_attempts_s < spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 24 * 3600


@pytest.mark.slow
def test_the_cron_job_runs_a_script_of_ours_with_just_the_rights_it_needs() -> None:
    (pod,) = pods_of(find("CronJob", "simgan-nightly"))
    (container,) = pod["containers"]
    python, script, template = container["command"]
    assert (python, (ROOT / script).is_file()) == ("python", True)
    assert custom("nightly")["metadata"]["name"] == template
    assert custom("nightly")["spec"]["suspend"] is True
    role, binding, account = find("Role"), find("RoleBinding"), find("ServiceAccount")
    assert role["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [s["name"] for s in binding["subjects"]] == [account["metadata"]["name"]]
    assert pod["serviceAccountName"] == account["metadata"]["name"]


@pytest.mark.slow
def test_a_missing_night_is_looked_for_after_each_night() -> None:
    look = find("CronJob", "simgan-overdue")["spec"]
    night = find("CronJob", "simgan-nightly")["spec"]
    (pod,) = pods_of(look)
    (container,) = pod["containers"]
    (command,) = commands_in(" ".join(container["command"]))
    assert 24 < parsed(command).overdue_hours < 48
    assert look["timeZone"] == night["timeZone"]
    begins, looks = (cron["schedule"].split() for cron in (night, look))
    assert begins[2:] == looks[2:] == ["*", "*", "*"]
    assert int(looks[1]) > int(begins[1])
    assert (
        look["jobTemplate"]["spec"]["backoffLimit"] == 0
    )  # each look that fails tells the webhook
    settings = [{"configMapRef": {"name": find("ConfigMap")["metadata"]["name"]}}]
    assert container["envFrom"] == [*settings, {"secretRef": {"name": "simgan-s3"}}]


@pytest.mark.parametrize("name", [name for name in CUSTOM if name != "cluster"])
def test_a_run_is_bounded_and_cleans_up(name) -> None:
    spec = run_spec(custom(name))
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] <= 3600
    assert 1 <= spec["backoffLimit"] <= 5
    assert 0 < spec["activeDeadlineSeconds"] < 24 * 3600
    # It goes through a shell in the submitter's pod, which would take these for its own.
    assert not re.search(r"[$;&|<>`\\'\"*?\n]", spec["entrypoint"])


@pytest.mark.parametrize("name", CUSTOM)
def test_a_cluster_wants_a_token_and_the_ray_that_we_install(name) -> None:
    spec = cluster_spec(custom(name))
    assert spec["authOptions"] == {"mode": "token"}
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert spec["rayVersion"] == pinned[1]


@pytest.mark.parametrize("name", CUSTOM)
def test_the_head_is_kept_off_spot_nodes_and_workers_are_welcome_there(name) -> None:
    head = cluster_spec(custom(name))["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    pod = head["template"]["spec"]
    assert "tolerations" not in pod
    wanted = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = wanted["nodeSelectorTerms"]
    shunned = {rule["key"] for rule in term["matchExpressions"] if rule["operator"] == "NotIn"}
    for group in groups_of(custom(name)).values():
        spot = {taint["key"] for taint in group["template"]["spec"]["tolerations"]}
        assert spot - {"nvidia.com/gpu"} <= shunned


@pytest.mark.parametrize("name", CUSTOM)
def test_groups_scale_and_a_worker_is_one_thread_a_core(name) -> None:
    spec, groups = cluster_spec(custom(name)), groups_of(custom(name))
    assert spec["enableInTreeAutoscaling"] is True
    assert set(groups) <= {"cpu", "gpu"}
    for group in groups.values():
        assert group["minReplicas"] <= group["replicas"] < group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"]
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert {"cpu", "memory", "ephemeral-storage"} <= resources["limits"].keys()
        assert ("nvidia.com/gpu" in resources["limits"]) == (group["groupName"] == "gpu")


def test_what_runs_share_is_written_down_once() -> None:
    files = [path for path in KUBERNETES.rglob("*.yaml") if "containers:" in path.read_text()]
    assert {path.parent.name for path in files} == {"base", "nightly"}  # the latter is the CronJob
    assert custom("raycronjob")["spec"].keys() == {"schedule", "timeZone", "jobTemplate"}
    assert custom("nightly")["spec"] == BASE["spec"] | {"suspend": True}
    assert custom("raycronjob")["spec"]["jobTemplate"] == BASE["spec"]
    ingest, refine = run_spec(custom("ingest")), copy.deepcopy(run_spec(custom("refine")))
    assert ingest == BASE["spec"] | {"entrypoint": ingest["entrypoint"]}
    cpu, gpu = refine["rayClusterSpec"]["workerGroupSpecs"]
    gpu |= {"replicas": 0, "minReplicas": 0}
    assert custom("cluster")["spec"] == refine["rayClusterSpec"]
    refine["rayClusterSpec"]["workerGroupSpecs"] = [cpu]
    assert refine == BASE["spec"] | {"entrypoint": refine["entrypoint"]}


@pytest.mark.slow
def test_no_pod_is_root_and_keys_come_from_a_secret() -> None:
    settings = find("ConfigMap")["metadata"]["name"]
    pods = [pod for name in KINDS for document in applied(name) for pod in pods_of(document)]
    assert len(pods) > 10
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            if container["name"].startswith("ray-") and container["name"] != "ray-job-submitter":
                assert container["envFrom"] == [
                    {"configMapRef": {"name": settings}},
                    {"secretRef": {"name": "simgan-s3"}},
                ]


def test_no_key_is_written_down() -> None:
    named = re.compile(r"(SECRET_ACCESS_KEY|ACCESS_KEY_ID|SESSION_TOKEN|AUTH_TOKEN)\s*[:=]\s*\S")
    looks = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b")
    files = [path for path in DEPLOY.rglob("*") if path.suffix != ".pyc" and path.is_file()]
    assert len(files) > 15
    for path in files:
        assert not named.search(path.read_text()), path
        assert not looks.search(path.read_text()), path


def test_every_image_is_named_by_the_settings() -> None:
    (settings,) = read((KUBERNETES / "settings" / "kustomization.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    known = {f"{image['name']}:{version}" for image in settings["images"]}
    made = [document for name in KINDS for document in applied(name)]
    used = {c["image"] for d in made for pod in pods_of(d) for c in pod["containers"]}
    assert used == known == {f"simgan-factory-{kind}:{version}" for kind in ("cpu", "gpu")}
    assert all(image["newTag"] == version for image in settings["images"])


def test_a_folder_lists_its_files_and_takes_the_settings() -> None:
    folders = {path.parent.name: path for path in KUBERNETES.glob("*/kustomization.yaml")}
    assert folders.keys() == {*CUSTOM, "gpu", "settings"}
    for name, path in folders.items():
        (listed,) = read(path.read_text())
        files = {other.name for other in path.parent.glob("*.yaml")} - {path.name}
        bases = {"../base"} if name in KINDS else set()
        assert set(listed.get("resources", [])) == files | bases
        assert ("../settings" in listed.get("components", [])) == (name in KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_kustomize_puts_the_settings_in_place(name, tmp_path, schema_of) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "k")
    settings = tmp_path / "k" / "settings" / "kustomization.yaml"
    text = settings.read_text().replace("newName: ", "newName: registry.example.com/ml/")
    settings.write_text(text.replace("namespace: simgan\n", "namespace: eyes\n"))
    made = rendered(tmp_path / "k" / name)
    assert {document["metadata"].pop("namespace") for document in made} == {"eyes"}
    for document in made:
        for pod in pods_of(document):
            for container in pod["containers"]:
                assert container["image"].startswith("registry.example.com/ml/simgan-factory-")
        if document["apiVersion"] == "ray.io/v1":
            assert problems(document, schema_of(document["kind"])) == []
    for binding in (document for document in made if document["kind"] == "RoleBinding"):
        assert binding["subjects"][0]["namespace"] == "eyes"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ingest", "refine"])
def test_an_entrypoint_is_a_command_that_the_job_takes(name) -> None:
    (command,) = commands_in(custom(name)["spec"]["entrypoint"])
    job = parsed(command).model_dump()
    groups = groups_of(custom(name))
    resource = {"cuda": "nvidia.com/gpu"}.get(job.get("device", "cpu"), "cpu")
    group = groups["gpu" if resource == "nvidia.com/gpu" else "cpu"]
    (container,) = group["template"]["spec"]["containers"]
    # Fewer would leave the group small, more would wait for ever.
    assert job["workers"] == group["maxReplicas"] * int(container["resources"]["limits"][resource])
    assert group["minReplicas"] > 0  # a run counts what is there when it starts
    settings = find("ConfigMap")["data"]
    places = {settings[f"SIMGAN_{n}"] for n in ("RENDERS", "SYNTHETIC", "REFINER", "REFINED")}
    assert {job[field] for field in ("input", "output", "refiner") if field in job} <= places
