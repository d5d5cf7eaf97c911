"""The fingerprint that an image is built with, and `make doctor` in containers that have drifted from it."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from samebench.environment import determinism, fingerprint
from tests.samebench.checkout import ROOT, run
from tests.samebench.fakes import SCRIPT
from tests.soak import busy
from tests.soak import record as record_figure

NO_DATA = "warning  data fashion-mnist: not there yet; expected 4 files; mend: make data DATASET=fashion-mnist"
SITE = "/opt/venv/lib/python3.*/site-packages"

# An edit that leaves no trace in the wheel's own RECORD.
EDIT_AND_MEND = f"""
import base64, glob, hashlib
site, = glob.glob("{SITE}")
record, = glob.glob(site + "/tqdm-*.dist-info/RECORD")
with open(site + "/tqdm/std.py", "a") as file:
    file.write("# edited")
content = open(site + "/tqdm/std.py", "rb").read()
said = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
rows = open(record).read().splitlines()
kept = [row for row in rows if not row.startswith("tqdm/std.py,")]
open(record, "w").write("\\n".join([*kept, f"tqdm/std.py,sha256={{said}},{{len(content)}}"]))
"""

Examined = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def examine(image: str, checkout: Path) -> Examined:
    """`make doctor` on a checkout that nobody has touched: the exit code and what is not ok inside."""

    def examined(**variables: str) -> tuple[int, list[str]]:
        done = run([*SCRIPT, "--doctor"], cwd=checkout, variables={"RUNTIME": "docker", **variables})
        lines = done.stdout.splitlines()
        start = next((number for number, line in enumerate(lines) if " environment: " in line), 0)
        return done.returncode, [line for line in lines[start:] if not line.startswith("ok ")]

    return examined


@pytest.fixture
def drifted(engine: docker.DockerClient, image: str) -> Callable[[str], list[str]]:
    """What the doctor finds in a container in which root has run a shell line."""

    def found(line: str) -> list[str]:
        mounts = {str(ROOT): {"bind": "/workspace", "mode": "ro"}}
        words = ["sh", "-c", f"{line}\nexec python -B -m samebench.environment.doctor"]
        output: bytes = engine.containers.run(
            image, words, user="0:0", volumes=mounts, remove=True, environment={"DATA": "/opt"}
        )
        lines = [json.loads(line) for line in output.decode().splitlines()]
        return [f"{name}: {what}" for status, name, what, *_ in lines if status not in {"ok", "warning"}]

    return found


def test_an_image_is_what_it_was_built_as(examine: Examined) -> None:
    assert examine() == (0, [NO_DATA])


def test_its_fingerprint_comes_out_again_to_the_byte(engine: docker.DockerClient, image: str) -> None:
    file = "/opt/venv/fingerprint.json"
    line = f"python -m samebench.environment.fingerprint --same | cmp - {file} && stat -c '%a %u' {file}"
    mounts = {str(ROOT): {"bind": "/workspace", "mode": "ro"}}
    assert engine.containers.run(image, ["sh", "-c", line], volumes=mounts, remove=True) == b"644 0\n"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (f"echo '# edited' >>$(echo {SITE}/tqdm/std.py)", "wheel tqdm: tqdm/std.py is not what RECORD says"),
        (f"python -B - <<'END'\n{EDIT_AND_MEND}\nEND", "wheel tqdm: other content"),
        (f"rm $(echo {SITE}/tqdm/std.py)", "wheel tqdm: tqdm/std.py is missing"),
        (f"rm -r {SITE}/tqdm {SITE}/tqdm-*.dist-info /opt/venv/bin/tqdm", "wheel tqdm: nothing"),
        ("sed -i '/^Package: make$/,/^$/s/^Version: .*/Version: 9.9/' /var/lib/dpkg/status", "os package make:amd64: "),
        ("export NVIDIA_TF32_OVERRIDE=1", "variable NVIDIA_TF32_OVERRIDE: nothing expected, 1 found"),
        ("export OMP_NUM_THREADS=3", "variable OMP_NUM_THREADS: nothing expected, 3 found"),
        ("unset ATEN_CPU_CAPABILITY", "variable ATEN_CPU_CAPABILITY: avx2 expected, nothing found"),
        ("true", ""),
    ],
    ids=["edited", "mended RECORD", "file gone", "wheel gone", "OS package", "variable", "threads", "level", "nothing"],
)
def test_what_has_drifted_in_a_container_is_named_and_nothing_else(
    drifted: Callable[[str], list[str]], line: str, named: str
) -> None:
    found = drifted(line)
    assert len(found) == bool(named), found
    assert all(each.startswith(named) for each in found), found


@pytest.mark.parametrize("name", ["requirements.lock", "docker/cpu.lock", "docker/cpu.Dockerfile"])
def test_an_edited_lock_or_dockerfile_is_named_in_the_image_that_is_there(
    examine: Examined, checkout: Path, name: str
) -> None:
    with (checkout / name).open("a") as file:
        file.write("# edited\n")
    code, (line, *rest) = examine()
    assert (code, rest) == (1, [NO_DATA])
    assert line.startswith(f"failure  input {name}: ")


def test_the_same_wheels_are_alike_in_the_image_and_beside_it(
    examine: Examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in {*fingerprint.VARIABLES} - {*determinism.CPU_LEVEL, *determinism.CUBLAS}:
        monkeypatch.delenv(name, raising=False)  # of whoever tests
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps(fingerprint.fingerprint()))
    tmp_path.chmod(0o755)
    code, lines = examine(WITH=str(theirs))
    names = [line.split(":")[0].split(maxsplit=1) for line in lines]
    failures = {name for status, name in names if status == "failure"}
    assert not {name for name in failures if name.startswith(("wheel", "file", "torch", "input", "variable"))}
    assert code == 1
    there = f"interpreter version: {platform.python_version()} there, "
    assert "os packages" in failures
    assert any(there in line for line in lines) == ("interpreter version" in failures)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_fifty_examinations_of_an_untouched_image_raise_no_alarm(
    examine: Examined, request: pytest.FixtureRequest
) -> None:
    assert [examine() for _ in range(50)] == [(0, [NO_DATA])] * 50
    record_figure(request.node.name, f"0 false alarms in 50; {busy()}")
