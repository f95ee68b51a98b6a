"""The form of the files in deploy/; needs no Docker, Kubernetes or SLURM."""

from __future__ import annotations

import inspect
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from lossbench.cli.run import run

REPOSITORY = Path(__file__).resolve().parent.parent
DEPLOY = REPOSITORY / "deploy"
INSTRUCTIONS = {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "CMD"}
QUANTITY = r"^[1-9]\d*(\.\d+)?(m|Ki|Mi|Gi|Ti)?$"


def pinned(name: str) -> str:
    found = re.search(
        rf"^{re.escape(name)}==(\S+)$",
        (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert found
    return found[1]


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, without comments, with continued lines joined."""
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text)
    return [
        (w, rest) for w, _, rest in (line.partition(" ") for line in joined.split("\n") if line)
    ]


def sent_to_docker(path: str) -> bool:
    """Whether .dockerignore keeps a path: the last matching line decides."""
    sent = True
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        if not line.startswith("#") and fnmatchcase(path, pattern):
            sent = line.startswith("!")
    return sent


def test_the_image_copies_existing_files_and_installs_exact_versions() -> None:
    found = instructions()
    assert {word for word, _ in found} <= INSTRUCTIONS
    words = [word for word, _ in found]
    assert words.index("ARG") < words.index("FROM") == 1  # BASE is known before it is used
    assert dict(found)["USER"] == "lossbench"  # the last one; not root
    for arguments in (rest.split() for word, rest in found if word == "COPY"):
        for source in arguments[:-1]:
            assert (REPOSITORY / source).exists(), source
            assert sent_to_docker(source.partition("/")[0]), source
    assert not sent_to_docker("mlflow.db")
    copied = {word for w, rest in found if w == "COPY" for word in rest.split()[:-1]}
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    packages = settings["tool"]["setuptools"]["package-dir"].values()
    assert copied >= {"lossbench", *packages}  # `pip install .` fails without one of them
    installs = [rest for word, rest in found if word == "RUN" and "pip install" in rest]
    assert len(installs) == 2
    assert all("-c constraints.txt" in command for command in installs)


class Form(BaseModel):
    """Part of a manifest, with its optional and required fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Resources(Form):
    requests: dict[Literal["cpu", "memory"], str]
    limits: dict[Literal["cpu", "memory", "nvidia.com/gpu"], str | int]


class Mount(Form):
    name: str
    mountPath: str = Field(pattern="^/")


class Container(Form):
    name: str = Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    image: str
    resources: Resources
    volumeMounts: list[Mount] = []


class Volume(Form):
    name: str
    emptyDir: dict[Literal["medium", "sizeLimit"], str] | None = None
    persistentVolumeClaim: dict[Literal["claimName"], str] | None = None


class PodSpec(Form):
    containers: list[Container] = Field(min_length=1)
    volumes: list[Volume] = []
    securityContext: dict[Literal["fsGroup"], int] = {}


class Template(Form):
    spec: PodSpec


class Head(Form):
    rayStartParams: dict[str, str]  # numbers are text as well
    template: Template


class Workers(Head):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int


class Auth(Form):
    mode: Literal["token"]


class RayClusterSpec(Form):
    rayVersion: str
    authOptions: Auth
    headGroupSpec: Head
    workerGroupSpecs: list[Workers] = Field(min_length=1)


class RayJobSpec(Form):
    entrypoint: str
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: int
    backoffLimit: int
    rayClusterSpec: RayClusterSpec


def manifests() -> Mapping[str, Mapping[str, Any]]:
    with (DEPLOY / "kuberay.yaml").open(encoding="utf-8") as file:
        return {found["kind"]: found for found in YAML(typ="safe").load_all(file)}


def pods(spec: RayClusterSpec) -> Iterator[PodSpec]:
    for group in (spec.headGroupSpec, *spec.workerGroupSpecs):
        yield group.template.spec


def test_the_ray_job_has_the_form_of_kuberays_v1() -> None:
    found = manifests()
    assert set(found) == {"PersistentVolumeClaim", "RayJob"}
    assert found["RayJob"]["apiVersion"] == "ray.io/v1"
    job = RayJobSpec.model_validate(found["RayJob"]["spec"])
    cluster = job.rayClusterSpec
    assert cluster.rayVersion == pinned("ray")
    images = set()
    claims = set()
    for pod in pods(cluster):
        volumes = {volume.name for volume in pod.volumes}
        claims |= {
            v.persistentVolumeClaim["claimName"] for v in pod.volumes if v.persistentVolumeClaim
        }
        for container in pod.containers:
            images.add(container.image)
            assert {mount.name for mount in container.volumeMounts} == volumes
            amounts = container.resources.requests | container.resources.limits
            assert all(re.match(QUANTITY, str(amount)) for amount in amounts.values())
    assert len(images) == 1  # Ray requires the same versions on all nodes
    assert claims == {found["PersistentVolumeClaim"]["metadata"]["name"]}
    for group in cluster.workerGroupSpecs:
        assert group.minReplicas <= group.replicas <= group.maxReplicas
    suite = re.search(r"/opt/lossbench/(suites/\S+)", job.entrypoint)
    assert suite
    assert (REPOSITORY / suite[1]).exists()


@pytest.mark.parametrize("option", ["address", "data_root"])
def test_the_ray_job_uses_options_of_run(option: str) -> None:
    assert option in inspect.signature(run).parameters
    assert f"--{option.replace('_', '-')} " in manifests()["RayJob"]["spec"]["entrypoint"]


def test_bash_can_parse_the_slurm_script() -> None:
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text(encoding="utf-8")
    options = re.findall(r"^#SBATCH (--[a-z-]+)=\S+$", text, re.MULTILINE)
    assert {"--nodes", "--ntasks-per-node", "--cpus-per-task", "--time"} <= set(options)
    assert "ray stop" not in text  # it would also end the Ray processes of other jobs on the node
