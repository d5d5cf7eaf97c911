"""`make doctor`: each thing that is not as it must be is named, with what mends it; nothing else is, or is changed."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samebench.core.command import UsageError
from samebench.environment import determinism, doctor, fingerprint
from samebench.environment.doctor import Finding
from tests.soak import busy
from tests.soak import record as record_figure

from .checkout import run
from .fakes import SCRIPT, checkout, programs
from .installed import install, install_torch, record, remove

__all__ = ["checkout", "programs"]  # fixtures

DOCTOR = [*SCRIPT, "--doctor"]
LOCK = """# Written by `make lock`
numpy==2.1.0 \\
    --hash=sha256:00
tqdm==4.0 ; sys_platform == 'linux' \\
    --hash=sha256:00
windows-thing==1.0 ; sys_platform == 'win32' \\
    --hash=sha256:00
"""
NUMPY = {"numpy/__init__.py": "one = 1\n", "numpy/core/x.py": "two = 2\n"}


class Bench:
    """A checkout with two locks and two data files, and what is installed from it."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "venv/lib/python3/site-packages"
        self.root = folder / "checkout"
        install(self.site, "numpy", "2.1.0", NUMPY)
        install(self.site, "tqdm", "4.0", {"tqdm.py": "three = 3\n"})
        install_torch(self.site)
        for name in ("docker", "data/shoes"):
            (self.root / name).mkdir(parents=True)
        (self.root / "requirements.lock").write_text(LOCK)
        (self.root / "docker/cpu.lock").write_text("torch==2.13.0+cpu \\\n    --hash=sha256:00\n")
        (self.root / "docker/cpu.Dockerfile").write_text("FROM base\n")
        for name in ("left", "right"):
            (self.root / "data/shoes" / name).write_text(name)
        listed = subprocess.run(["sha256sum", "left", "right"], cwd=self.root / "data/shoes", capture_output=True)
        (self.root / "data/shoes.sha256").write_bytes(listed.stdout)

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint.fingerprint(site=self.site, root=self.root)

    def bad(self, baked: dict[str, Any] | None = None, now: dict[str, Any] | None = None) -> list[Finding]:
        """What is not ok."""
        found = doctor.findings(now or self.fingerprint(), reference=baked, root=self.root)
        return [each for each in found if each.status != "ok"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Nothing is wrong with it, and every variable is as it must be."""
    for name in (*fingerprint.VARIABLES, "DATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (determinism.CPU_LEVEL | determinism.CUBLAS).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(fingerprint, "IMAGE", "/nowhere")  # also where the tests run in the image
    return Bench(tmp_path)


def test_nothing_is_wrong_with_an_untouched_bench(bench: Bench) -> None:
    assert bench.bad() == []
    assert bench.bad(bench.fingerprint()) == []


@pytest.mark.parametrize("version", ["2.2.0", "2.0.9"])
def test_another_version_than_the_locks_is_named_once(bench: Bench, version: str) -> None:
    baked = bench.fingerprint()
    remove(bench.site, "numpy")
    install(bench.site, "numpy", version, NUMPY)
    for then in (None, baked):
        (finding,) = bench.bad(then)
        assert finding[:4] == ("failure", "wheel numpy", version, "2.1.0 by requirements.lock")
        assert finding.mend


def test_an_extra_and_a_missing_package_are_named(bench: Bench) -> None:
    remove(bench.site, "numpy")
    install(bench.site, "extra", "1.0", {})
    assert [finding[:4] for finding in bench.bad()] == [
        ("failure", "wheel extra", "1.0", "in no lock"),
        ("failure", "wheel numpy", "nothing", "2.1.0 by requirements.lock"),
    ]


def test_an_edited_file_is_named(bench: Bench) -> None:
    baked = bench.fingerprint()
    (bench.site / "numpy/core/x.py").write_text("two = 3\n")
    for then in (None, baked):
        (finding,) = bench.bad(then)
        assert finding[:3] == ("failure", "wheel numpy", "numpy/core/x.py is not what RECORD says")


def test_an_edited_file_whose_record_was_mended_is_caught_by_the_image(bench: Bench) -> None:
    baked = bench.fingerprint()
    (bench.site / "numpy/core/x.py").write_text("two = 3\n")
    record(bench.site, "numpy", "2.1.0", [*NUMPY, "numpy-2.1.0.dist-info/METADATA"])
    (finding,) = bench.bad(baked)
    assert finding[:3] == ("failure", "wheel numpy", "other content")


def test_a_missing_and_a_foreign_file_are_named(bench: Bench) -> None:
    (bench.site / "numpy/core/x.py").unlink()
    (bench.site / "sitecustomize.py").write_text("import this\n")
    wheel, foreign = bench.bad()
    assert wheel[:3] == ("failure", "wheel numpy", "numpy/core/x.py is missing")
    assert (foreign.status, foreign.name) == ("failure", "file of no wheel sitecustomize.py")


def test_another_os_package_than_at_the_build_is_named(bench: Bench) -> None:
    baked, now = bench.fingerprint(), bench.fingerprint()
    baked["same"]["os_packages"] = {"libc6:amd64": "2.36-9", "git:amd64": "2.39"}
    now["same"]["os_packages"] = {"libc6:amd64": "2.37-1", "git:amd64": "2.39"}
    (finding,) = bench.bad(baked, now)
    assert finding[:3] == ("failure", "os package libc6:amd64", "2.36-9 expected, 2.37-1 found")


def test_the_other_build_of_torch_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    remove(bench.site, "torch")
    install_torch(bench.site, cuda="13.0")
    wheel, build = bench.bad()
    assert wheel[:4] == ("failure", "wheel torch", "2.13.0", "2.13.0+cpu by docker/cpu.lock")
    told = ("2.13.0 for CUDA 13.0", "a build for the CPU, by docker/cpu.lock")
    assert build[:4] == ("failure", "torch build", *told)
    shutil.copy(bench.root / "docker/cpu.lock", bench.root / "docker/gpu.lock")
    remove(bench.site, "torch")
    install_torch(bench.site)
    monkeypatch.setattr(sys, "prefix", f"{sys.prefix}-gpu")
    assert [finding.found for finding in bench.bad()] == ["2.13.0+cpu for the CPU"]


@pytest.mark.parametrize(
    ("name", "value", "found", "mend"),
    [
        ("NVIDIA_TF32_OVERRIDE", "1", "nothing expected, 1 found", "unset NVIDIA_TF32_OVERRIDE"),
        ("OMP_NUM_THREADS", "4", "nothing expected, 4 found", "unset OMP_NUM_THREADS"),
        ("ATEN_CPU_CAPABILITY", "avx512", "avx2 expected, avx512 found", "export ATEN_CPU_CAPABILITY=avx2"),
        ("MKL_CBWR", "", "COMPATIBLE expected, nothing found", "export MKL_CBWR=COMPATIBLE"),
    ],
)
def test_a_variable_a_number_of_threads_and_the_cpu_level_are_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, value: str, found: str, mend: str
) -> None:
    baked = bench.fingerprint()
    monkeypatch.setenv(name, value)
    for then in (None, baked):
        assert bench.bad(then) == [Finding("failure", f"variable {name}", found, mend=mend)]


def test_a_cpu_without_the_level_is_named(bench: Bench) -> None:
    if not determinism.cpu_level_variables(fast=False):
        pytest.skip("this machine is not an x86-64, where there is no such level")
    now = bench.fingerprint()
    now["machine"]["avx2"] = False
    (finding,) = bench.bad(now=now)
    assert (finding.status, finding.name, finding.expected) == ("failure", "CPU level", "AVX2")
    assert finding.found.endswith("no AVX2")


@pytest.mark.parametrize("name", ["requirements.lock", "docker/cpu.lock", "docker/cpu.Dockerfile"])
def test_a_lock_or_dockerfile_edited_since_the_image_was_built_is_named(bench: Bench, name: str) -> None:
    baked = bench.fingerprint()
    with (bench.root / name).open("a") as file:
        file.write("# edited\n")
    (finding,) = bench.bad(baked)
    assert (finding.status, finding.name) == ("failure", f"input {name}")


def test_another_patch_version_of_the_interpreter_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    baked = bench.fingerprint()
    was = baked["same"]["interpreter"]["version"]
    monkeypatch.setattr("platform.python_version", lambda: "3.11.99")
    for then in (None, baked):
        (finding,) = bench.bad(then)
        assert finding[:3] == ("failure", "interpreter version", f"{was} expected, 3.11.99 found")


def test_a_data_byte_is_named_with_both_hashes(bench: Bench) -> None:
    (bench.root / "data/shoes/left").write_text("lefT")
    (finding,) = bench.bad()
    assert finding[:2] == ("failure", "data shoes/left")
    assert finding.found != finding.expected
    assert finding.expected == "sha256 360f84035942"


def test_a_listing_that_git_could_not_merge_is_a_failure_and_the_rest_is_looked_at(bench: Bench) -> None:
    (bench.root / "data/boots.sha256").write_text("<<<<<<< HEAD\n")
    (finding,) = bench.bad()
    assert finding[:2] == ("failure", "data boots")
    assert finding.mend == "take the listing of one version"


def test_a_missing_data_file_is_named_and_no_data_is_a_warning(bench: Bench) -> None:
    (bench.root / "data/shoes/left").unlink()
    assert bench.bad() == [
        Finding("failure", "data shoes/left", "missing", "sha256 360f84035942", "make data DATASET=shoes")
    ]
    (bench.root / "data/shoes/right").unlink()
    assert bench.bad() == [Finding("warning", "data shoes", "not there yet", "2 files", "make data DATASET=shoes")]


def test_data_that_lies_elsewhere_is_looked_at_there_and_other_sets_where_they_are(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (bench.root / "data/shoes").rename(elsewhere)
    (bench.root / "data/boots").mkdir()
    (bench.root / "data/boots/high").write_text("high")
    (bench.root / "data/boots.sha256").write_text(f"{hashlib.sha256(b'high').hexdigest()}  high\n")
    monkeypatch.setenv("DATA", str(elsewhere))
    assert bench.bad() == []
    (elsewhere / "left").write_text("lefT")
    assert [finding.name for finding in bench.bad()] == ["data shoes/left"]
    monkeypatch.setenv("DATA", str(tmp_path))
    assert [finding.name for finding in bench.bad()] == ["data shoes", f"DATA={tmp_path}"]


def test_of_very_many_only_some_are_named(bench: Bench) -> None:
    for number in range(30):
        install(bench.site, f"extra{number:02}", "1.0", {})
    bad = bench.bad()
    assert len(bad) == doctor.MANY + 1
    assert bad[-1].found == f"{30 - doctor.MANY} more of these"


# ---- a teammate's ----


def test_only_what_differs_from_a_teammate_is_told(bench: Bench) -> None:
    theirs, now = bench.fingerprint(), bench.fingerprint()
    assert [finding.status for finding in doctor.compare(theirs, now)] == ["ok"]
    theirs["same"]["wheels"]["numpy"]["version"] = "2.0.0"
    theirs["machine"]["cores"] = 96
    theirs["sha256"] = fingerprint.digest(theirs["same"])
    assert list(doctor.compare(theirs, now)) == [
        Finding("failure", "wheel numpy", "2.0.0 there, 2.1.0 here"),
        Finding("remark", "cores", f"96 there, {now['machine']['cores']} here"),
    ]


WHEEL = {"version": "1", "sha256": "0"}


@pytest.mark.parametrize(
    "change",
    [
        {"machine": 7},
        {"machine": {"cpu": {"a": {"b": 1}}}},
        {"same": [1]},
        {"same": {"wheels": {"numpy": {"sha256": "0"}}}},
        {"same": {"wheels": {"numpy": WHEEL | {"altered": 5}}}},
        {"same": {"wheels": {"numpy": WHEEL | {"missing": [["a"]]}}}},
        {"same": {"wheels": {"numpy": WHEEL | {"version": ["1"]}}}},
        {"same": {"variables": ["a"]}},
        {"same": {"\x1b[2J": {}}},
        {"same": {"torch": {"cuda": {"a": 1}}}},
    ],
)
def test_a_fingerprint_of_another_shape_is_refused_though_its_hash_is_right(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    document: dict[str, Any] = {"format": 1, "same": {}, "machine": {}} | change
    content = json.dumps(document | {"sha256": fingerprint.digest(document["same"])})
    (tmp_path / "theirs.json").write_text(content)
    with pytest.raises(UsageError, match="not a fingerprint; give what `make fingerprint` has printed"):
        doctor.read(tmp_path / "theirs.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("no JSON", "not a fingerprint"),
        ("[]", "not a fingerprint"),
        ('{"format": 1}', "not a fingerprint"),
        ('{"format": 2}', "format 2, expected 1"),
        (
            '{"format": 1, "same": {}, "sha256": "0123456789abcdef"}',
            "edited, its sha256 is 0123456789ab and that of its content",
        ),
    ],
)
def test_what_is_no_fingerprint_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    path = tmp_path / "theirs.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=reason) as refusal:
        doctor.read(path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_doctor_with_a_teammates_fingerprint_ends_with_1_where_they_differ(checkout: Path) -> None:
    here = {"SAMEBENCH": "1", "PYTHONPATH": "src"}
    (checkout / "mine.json").write_text(run(["make", "fingerprint"], cwd=checkout, variables=here).stdout)
    done = run(DOCTOR, cwd=checkout, variables=here | {"WITH": "mine.json"})
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stdout + done.stderr
    done = run(DOCTOR, cwd=checkout, variables=here | {"WITH": "mine.json", "OMP_NUM_THREADS": "7"})
    assert (done.returncode, done.stdout) == (1, "failure  variable OMP_NUM_THREADS: nothing there, 7 here\n")
    done = run(DOCTOR, cwd=checkout, variables=here | {"WITH": "not-there.json"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: not-there.json: No such file or directory; ")


# ---- this environment ----

Examined = Callable[[], tuple[int, list[str]]]


@pytest.fixture
def here(checkout: Path) -> Examined:
    """The doctor where we are, on a checkout that nobody has touched: its exit code and what but the disk is not ok."""

    def examine() -> tuple[int, list[str]]:
        variables = dict.fromkeys(fingerprint.VARIABLES, "") | determinism.CPU_LEVEL | determinism.CUBLAS
        done = run(DOCTOR, cwd=checkout, variables={**variables, "SAMEBENCH": "1", "PYTHONPATH": "src"})
        return done.returncode, [
            line for line in done.stdout.splitlines() if not line.startswith(("ok ", "warning  disk: "))
        ]

    return examine


NO_DATA = "warning  data blots: not there yet; expected 2 files; mend: make data DATASET=blots"


def test_nothing_is_wrong_with_this_environment(here: Examined) -> None:
    assert here() == (0, [NO_DATA])


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_fifty_examinations_of_an_untouched_environment_raise_no_alarm(
    here: Examined, request: pytest.FixtureRequest
) -> None:
    assert [here() for _ in range(50)] == [(0, [NO_DATA])] * 50
    record_figure(request.node.name, f"0 false alarms in 50; {busy()}")
