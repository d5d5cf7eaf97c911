"""What deploy/ has for several machines: what can be told without a cluster. test_slurm.py runs one."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from samebench.training.launch import Launch
from tests.commands import call
from tests.samebench.checkout import ROOT

SLURM, TRAINJOB, SKY = (ROOT / "deploy" / name for name in ("train.slurm", "trainjob.yaml", "train.sky.yaml"))
CONTRACT = {"NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "JOB"}


def only(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": [*required], "properties": properties}


def several(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
TEXTS = several(TEXT)
NUMBER = {"type": "integer", "minimum": 1}
ANY = {"type": "object"}  # Kubernetes' own
AMOUNTS = {"type": "object", "additionalProperties": TEXT}

# Kubeflow Trainer 2.2, pkg/apis/trainer/v1alpha1/trainjob_types.go: the fields we use, and nothing of 2.1's
# podTemplateOverrides, which are gone.
CONTAINER = only("name", name=TEXT, env=several(ANY), volumeMounts=several(ANY), securityContext=ANY)
POD = only(volumes=several(ANY), containers=several(CONTAINER), securityContext=ANY, serviceAccountName=TEXT)
REPLICATED = only("name", name=TEXT, template=only(spec=only(template=only(spec=POD))))
PATCHED = only(template=only(spec=only(replicatedJobs=several(REPLICATED))))
TRAINER = only(
    image=TEXT,
    command=TEXTS,
    args=TEXTS,
    env=several(only("name", name=TEXT, value={"type": "string"})),
    numNodes=NUMBER,
    numProcPerNode=NUMBER,
    resourcesPerNode=only(requests=AMOUNTS, limits=AMOUNTS),
)
SPEC = only(
    "runtimeRef",
    runtimeRef=only("name", name=TEXT, apiGroup=TEXT, kind=TEXT),
    trainer=TRAINER,
    runtimePatches=several(only("manager", manager=TEXT, trainingRuntimeSpec=PATCHED)),
    suspend={"type": "boolean"},
)
TRAINJOB_SCHEMA = only(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "trainer.kubeflow.org/v1alpha1"},
    kind={"const": "TrainJob"},
    metadata=only("name", name={"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}),
    spec=SPEC,
)
# SkyPilot 0.14.1, sky/utils/schemas.py: likewise.
SKY_SCHEMA = only(
    name=TEXT,
    workdir=TEXT,
    num_nodes=NUMBER,
    resources=only(cpus=TEXT, memory=TEXT, accelerators=TEXT, use_spot={"type": "boolean"}),
    envs={"type": "object", "additionalProperties": {"type": ["string", "null"]}},
    file_mounts={"type": "object", "additionalProperties": only(name=TEXT, source=TEXT, mode={"enum": ["MOUNT"]})},
    setup=TEXT,
    run=TEXT,
)


def without_comments(path: Path) -> str:
    return re.sub(r"(^|\s)#(?!SBATCH).*", "", path.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", [SLURM, TRAINJOB, SKY])
def test_each_is_short_and_says_how_to_start_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) < 60
    assert re.search("sbatch|kubectl create|sky jobs launch", "\n".join(lines[:6]))


def test_the_trainjob_has_only_what_its_definition_knows() -> None:
    job = yaml.safe_load(TRAINJOB.read_text())
    jsonschema.validate(job, TRAINJOB_SCHEMA)
    names = {each["name"] for each in job["spec"]["trainer"]["env"]}
    # These are the runtime's to set, and it refuses a job that does (pkg/constants, TorchRunReservedEnvNames).
    assert not names & {f"PET_{name}" for name in (*CONTRACT, "NPROC_PER_NODE")}
    assert names & CONTRACT == {"JOB"}


def test_the_trainjob_gives_the_container_no_power() -> None:
    (patch,) = yaml.safe_load(TRAINJOB.read_text())["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_task_has_only_what_its_schema_knows_and_asks_for_the_bucket() -> None:
    task = yaml.safe_load(SKY.read_text())
    jsonschema.validate(task, SKY_SCHEMA)
    assert task["envs"]["BUCKET"] is None


@pytest.mark.parametrize("path", [SLURM, SKY])
def test_scripts_give_all_that_torchruns_contract_asks_for(path: Path) -> None:
    assert set(re.findall(r"\b([A-Z_]+)=", without_comments(path))) == CONTRACT
    asked = Launch.from_env(dict.fromkeys(CONTRACT, "1") | {"NNODES": "2"})
    assert asked
    assert (asked.nnodes, asked.node_rank, asked.master_address, asked.master_port, asked.job) == (2, 1, "1", 1, "1")


def test_every_flag_is_one_of_the_training_s(tmp_path: Path) -> None:
    known = set(re.findall(r"--[a-z-]+", call("-m", "samebench.training", "--help", at=tmp_path).stdout))
    task, job = (yaml.safe_load(path.read_text()) for path in (SKY, TRAINJOB))
    _, _, words = task["run"].partition("samebench.training ")
    used = {word for word in (*words.split(), *job["spec"]["trainer"]["args"]) if word.startswith("--")}
    (shown,) = re.findall(r"deploy/train\.slurm (--.*)", SLURM.read_text())
    used |= {word for word in shown.split() if word.startswith("--")}
    assert {"--epochs", "--checkpoint-seconds"} <= used <= known


@pytest.mark.parametrize("path", [SLURM, SKY])
def test_every_path_is_there(path: Path) -> None:
    named = set(re.findall(r"\b(?:src|deploy)/[\w./]+\w", path.read_text()))
    assert named
    assert not [each for each in named if not (ROOT / each).exists()]
