"""What `make doctor` says of a machine, with fakes for its programs."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from samebench.host import doctor
from tests.commands import open_to_others

from .checkout import run
from .fakes import SCRIPT, checkout, fake_engines, programs, write_program

__all__ = ["checkout", "programs"]  # fixtures

DOCTOR = [*SCRIPT, "--doctor"]

ENGINE = """echo "$@" >>"${0%/*}/asked"
case "$*" in
info*) echo 28.5 ;;
--version) echo 'Docker version 28.5' ;;
buildx*) echo 'github.com/docker/buildx v0.30' ;;
run*) printf '%s\\n' '["ok", "wheels", "151 \\"as\\" \\\\ locked", "", ""]' ;;
esac"""


def told(checkout: Path, programs: Path, **variables: str) -> tuple[int, list[str]]:
    done = run(DOCTOR, cwd=checkout, path=programs, variables={"CA_CERT": "", "SSL_CERT_FILE": "", **variables})
    assert done.stderr == ""
    return done.returncode, [line for line in done.stdout.splitlines() if not line.startswith(("ok ", "remark "))]


def lines(checkout: Path, programs: Path, name: str, **variables: str) -> list[str]:
    """What is not ok of that name."""
    return [line for line in told(checkout, programs, **variables)[1] if f" {name}: " in f"{line} "]


def test_a_host_where_nothing_is_wrong_ends_with_0(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    code, bad = told(checkout, programs)
    machines = ("warning  port", "warning  disk: ")  # what others have left of it
    assert (code, [line for line in bad if not line.startswith(machines)]) == (0, [])
    assert "build" not in (programs / "asked").read_text().replace("buildx version", "")


def test_for_machines_it_is_one_document(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    done = run(["make", "doctor", "JSON=1"], cwd=checkout, path=programs)
    document = json.loads(done.stdout)
    assert document["ok"] is True
    last = {"status": "ok", "name": "wheels", "found": '151 "as" \\ locked', "expected": "", "mend": ""}
    assert document["findings"][-1] == last


def test_an_engine_that_was_asked_for_and_does_not_answer_is_a_failure(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="echo 'Cannot connect' >&2; exit 1")
    said = "docker: the engine does not answer (Cannot connect); mend: start it, or use RUNTIME=local"
    assert lines(checkout, programs, "docker", RUNTIME="docker") == [f"failure  {said}"]
    assert lines(checkout, programs, "docker") == [f"warning  {said}"]
    assert told(checkout, programs, RUNTIME="docker")[0] == 1
    assert told(checkout, programs)[0] == 0


def test_nothing_is_set_up_to_look_at_it(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE.replace("info*)", "image*) exit 1 ;;\ninfo*)"))

    def files() -> set[Path]:
        return {path for path in checkout.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    (line,) = lines(checkout, programs, "environment", RUNTIME="docker")
    assert line == "warning  environment: no image of the cpu workspace yet; mend: make build"
    (line,) = lines(checkout, programs, "environment", RUNTIME="local")
    assert line == "warning  environment: no .venv yet; mend: any command sets it up, such as make shell"
    assert files() == before


def test_an_older_image_is_looked_at_where_there_is_no_other(checkout: Path, programs: Path) -> None:
    older = """run*samebench:cpu*) echo '["ok", "older", ""]' ;;"""
    only_latest = f"image*samebench:cpu) ;;\nimage*) exit 1 ;;\n{older}\ninfo*)"
    fake_engines(programs, docker=ENGINE.replace("info*)", only_latest))
    done = run(DOCTOR, cwd=checkout, path=programs, variables={"RUNTIME": "docker"})
    assert "ok       older: " in done.stdout


@pytest.mark.parametrize(("code", "said"), [(1, "No module named torch"), (125, "docker did not start the container")])
def test_an_environment_that_can_not_be_looked_at_is_a_failure(
    checkout: Path, programs: Path, code: int, said: str
) -> None:
    failing = f"run*) echo 'No module named torch' >&2; exit {code} ;;\nnot*)"
    fake_engines(programs, docker=ENGINE.replace("run*)", failing))
    ended, bad = told(checkout, programs, RUNTIME="docker")
    assert ended == 1
    assert bad[-1].startswith(f"failure  environment: can't be looked at ({said}")


def test_docker_without_buildx_is_a_failure(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE.replace("buildx*)", "buildx*) exit 1 ;;\nnot*)"))
    (line,) = lines(checkout, programs, "docker buildx")
    assert line.startswith("failure  docker buildx: not here; mend: install docker-buildx")


def test_an_old_driver_is_a_failure_where_a_gpu_is_asked_for(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    write_program(programs / "nvidia-smi", "echo '0, 570.133.20'")
    said = "GPU: the NVIDIA driver 570.133.20 is too old for CUDA 13; mend: install version 580 or newer"
    assert lines(checkout, programs, "GPU", GPU="1") == [f"failure  {said}"]
    assert lines(checkout, programs, "GPU") == [f"warning  {said}"]


def test_a_slow_clock_is_a_failure(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    text = (checkout / "requirements.lock").read_text()
    (checkout / "requirements.lock").write_text(re.sub(" as of .*", " as of 2999-01-01T00:00:00Z", text, count=1))
    (line,) = lines(checkout, programs, "clock")
    assert re.match("failure  clock: 20.*Z; expected later than 2999-01-01T00:00:00Z; mend: set the clock", line)


def test_too_little_room_is_a_warning() -> None:
    assert doctor.has_enough("disk", 9_999_999_999, 10, "free it") == (
        "warning",
        "disk",
        "9 GB free",
        "10 GB",
        "free it",
    )
    assert doctor.has_enough("disk", 10_000_000_000, 10, "free it")[:3] == ("ok", "disk", "10 GB free")


def test_the_room_of_the_disk_and_of_shared_memory_is_looked_at(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    done = run(DOCTOR, cwd=checkout, path=programs)
    for name, folder in (("disk", "."), ("shared memory", "/dev/shm"), ("memory", "/proc/meminfo")):  # noqa: S108
        assert (f" {name}: " in done.stdout) == Path(folder).exists()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of ours that somebody listens on."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", 6006))
            listener.listen()
        except OSError:
            pass  # somebody does already
        yield 6006


def test_a_taken_port_is_a_warning(checkout: Path, programs: Path, taken: int) -> None:
    fake_engines(programs, docker=ENGINE)
    (line,) = lines(checkout, programs, f"port {taken}")
    assert line.startswith("warning  port 6006: taken; expected free; mend: ")


def test_certificates_that_are_none_are_a_failure_and_no_password_is_told(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    (line,) = lines(checkout, programs, "CA_CERT", CA_CERT="Makefile")
    assert line.startswith("failure  CA_CERT: Makefile: can't be read, or holds no certificate; expected ")
    variables = {"https_proxy": "http://jane:secret@proxy.example:3128"}  # pragma: allowlist secret
    done = run(DOCTOR, cwd=checkout, path=programs, variables=variables)
    assert "ok       https_proxy: http://…@proxy.example:3128\n" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_what_a_variable_can_not_be_is_a_finding_beside_the_others(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    code, bad = told(checkout, programs, GPU="2", CA_CERT="/nowhere.pem")
    assert code == 1
    assert any(line.startswith("failure  GPU: give GPU=1 for all GPUs") for line in bad)
    assert any(line.startswith("failure  CA_CERT: /nowhere.pem: can't be read") for line in bad)


@pytest.mark.parametrize("name", ["requirements.lock", "docker/cpu.lock", "docker/cpu.Dockerfile"])
def test_a_lock_or_dockerfile_that_is_not_the_commits_is_named(checkout: Path, programs: Path, name: str) -> None:
    fake_engines(programs, docker=ENGINE)
    git = ["git", "-c", "user.name=Jane", "-c", "user.email=jane@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *words], cwd=checkout, check=True)
    assert told(checkout, programs)[0] == 0
    with (checkout / name).open("a") as file:
        file.write("# edited\n")
    (line,) = lines(checkout, programs, name)
    assert line.startswith(f"failure  {name}: edited; expected as in commit ")
    assert line.endswith(f"mend: commit it, or git checkout HEAD -- {name}")


def test_a_checkout_of_another_user_is_a_failure(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    (programs / "asked").touch()
    (programs / "asked").chmod(0o666)
    (checkout / "data").chmod(0o555)
    words = DOCTOR
    if os.access(checkout / "data", os.W_OK):  # root may write everywhere, but for one without capabilities
        open_to_others(checkout.parent)
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *DOCTOR]
    done = run(words, cwd=checkout, path=programs, variables={"CA_CERT": "", "SSL_CERT_FILE": ""})
    assert done.returncode == 1
    assert "failure  checkout: data is not writable for user " in done.stdout
