"""`environment.py`: a fact that must be alike and is not is named, and nothing else is."""

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samebench.environment import fingerprint
from samebench.environment.fingerprint import differences
from tests.soak import busy
from tests.soak import record as record_figure

from .checkout import ROOT, run
from .fakes import write_program
from .installed import install, install_torch, record, remove

SCRIPT = ROOT / "src/samebench/environment/fingerprint.py"
OTHER = "5" * 64


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A virtual environment's folder of wheels: numpy 2.1.0 with a script, tqdm 4.0 and torch for the CPU."""
    path = tmp_path / "venv/lib/python3/site-packages"
    files = {"numpy/__init__.py": "one = 1\n", "numpy/core/x.py": "two = 2\n", "../../../bin/f2py": "#!/here/python\n"}
    install(path, "numpy", "2.1.0", files)
    install(path, "tqdm", "4.0", {"tqdm.py": "three = 3\n"})
    install_torch(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What of a checkout goes into an image."""
    path = tmp_path / "checkout"
    shutil.copytree(ROOT / "docker", path / "docker")
    shutil.copy(ROOT / "requirements.lock", path)
    return path


@pytest.fixture
def drift(site: Path, root: Path) -> Callable[[Callable[[], object]], list[str]]:
    """The differences that a change makes."""

    def names(change: Callable[[], object]) -> list[str]:
        then = fingerprint.fingerprint(site=site, root=root)
        change()
        now = fingerprint.fingerprint(site=site, root=root)
        assert (then["sha256"] == now["sha256"]) == (then["same"] == now["same"])
        return differences(then, now)

    return names


Drift = Callable[[Callable[[], object]], list[str]]


@pytest.mark.parametrize("version", ["2.2.0", "2.0.9"])
def test_another_version_of_a_package_is_named_with_both(site: Path, drift: Drift, version: str) -> None:
    def change() -> None:
        remove(site, "numpy")
        install(site, "numpy", version, {"numpy/__init__.py": "one = 1\n"})

    assert drift(change) == [f"wheel numpy: 2.1.0 then, {version} now"]


def test_an_extra_and_a_missing_package_are_named(site: Path, drift: Drift) -> None:
    def change() -> None:
        remove(site, "tqdm")
        install(site, "Extra_Thing", "1.0", {"extra.py": ""})

    assert drift(change) == ["wheel extra-thing: nothing then, 1.0 now", "wheel tqdm: 4.0 then, nothing now"]


def test_a_package_over_another_of_its_name_is_named(site: Path, drift: Drift) -> None:
    named = drift(lambda: install(site, "tqdm", "5.0", {"tqdm/__init__.py": ""}))
    assert named == ["wheel tqdm 5.0: nothing then, 5.0 now"]


def test_an_edited_file_is_named(site: Path, drift: Drift) -> None:
    named = drift(lambda: (site / "numpy/core/x.py").write_text("two = 3\n"))
    assert named == ["wheel numpy: numpy/core/x.py is not what RECORD says"]


def test_an_edited_file_whose_hash_in_record_was_mended_is_not_overlooked(site: Path, drift: Drift) -> None:
    def change() -> None:
        (site / "numpy/core/x.py").write_text("two = 3\n")
        listed = ["numpy/__init__.py", "numpy/core/x.py", "../../../bin/f2py", "numpy-2.1.0.dist-info/METADATA"]
        record(site, "numpy", "2.1.0", listed)

    assert drift(change) == ["wheel numpy: other content"]


def test_an_edited_script_is_named(site: Path, drift: Drift) -> None:
    named = drift(lambda: (site / "../../../bin/f2py").write_text("#!/bin/rm\n"))
    assert named == ["wheel numpy: ../../../bin/f2py is not what RECORD says"]


def test_a_script_for_another_place_is_no_difference_and_another_program_is(site: Path, drift: Drift) -> None:
    def put(content: str) -> None:
        remove(site, "tqdm")
        install(site, "tqdm", "4.0", {"tqdm.py": "three = 3\n", "../../../bin/tqdm": content})

    put("#!/here/bin/python\n")
    assert drift(lambda: put("#!/somewhere/else/bin/python\n")) == []
    put("ELF")
    assert drift(lambda: put("ELF, another")) == ["wheel tqdm: other content"]


def test_a_missing_file_is_named_and_a_missing_folder_once(site: Path, drift: Drift) -> None:
    assert drift((site / "numpy/__init__.py").unlink) == ["wheel numpy: numpy/__init__.py is missing"]
    assert drift(lambda: shutil.rmtree(site / "numpy/core")) == ["wheel numpy: numpy/core is missing"]


@pytest.mark.parametrize("name", ["sitecustomize.py", "evil.pth", "numpy/core/extra.so", "numpy/x.pyc"])
def test_a_file_of_no_wheel_is_named(site: Path, drift: Drift, name: str) -> None:
    (line,) = drift(lambda: (site / name).write_text("import this\n"))
    assert line.startswith(f"file of no wheel {name}: nothing then, ")


def test_a_linked_folder_is_named(site: Path, drift: Drift, tmp_path: Path) -> None:
    (line,) = drift(lambda: (site / "linked").symlink_to(tmp_path))
    assert line.startswith("file of no wheel linked: nothing then, ")


def test_where_our_sources_are_is_no_difference_and_code_in_that_file_is(site: Path, drift: Drift) -> None:
    assert drift(lambda: (site / "samebench.pth").write_text("/somewhere/else/src\n")) == []
    (line,) = drift(lambda: (site / "samebench.pth").write_text("import evil\n"))
    assert line.startswith("file of no wheel samebench.pth: nothing then, ")


def test_byte_code_and_installers_notes_are_no_difference(site: Path, drift: Drift) -> None:
    def change() -> None:
        (site / "numpy/__pycache__").mkdir()
        (site / "numpy/__pycache__/__init__.cpython-311.pyc").write_bytes(b"code")
        (site / "numpy-2.1.0.dist-info/INSTALLER").write_text("pip\n")
        (site / "numpy-2.1.0.dist-info/direct_url.json").write_text("{}")

    assert drift(change) == []


def test_another_build_of_torch_is_named_with_both(site: Path, drift: Drift) -> None:
    def change() -> None:
        remove(site, "torch")
        install_torch(site, cuda="13.0")

    named = drift(change)
    assert {"torch cuda: nothing then, 13.0 now", "torch version: 2.13.0+cpu then, 2.13.0 now"} <= set(named)
    assert "wheel torch: 2.13.0+cpu then, 2.13.0 now" in named
    assert [line.split(":")[0] for line in named if line.startswith("input")] == [
        f"input docker/{name}" for name in ("cpu.Dockerfile", "cpu.lock", "gpu.Dockerfile", "gpu.lock")
    ]


@pytest.mark.parametrize("name", ["requirements.lock", "docker/cpu.lock", "docker/cpu.Dockerfile"])
def test_an_edited_lock_or_dockerfile_is_named(root: Path, drift: Drift, name: str) -> None:
    (line,) = drift(lambda: (root / name).write_text("edited\n"))
    assert line.startswith(f"input {name}: ")
    assert drift(lambda: (root / "docker/gpu.lock").write_text("edited\n")) == [], "of the other workspace"


@pytest.mark.parametrize("name", sorted({*fingerprint.VARIABLES} - fingerprint.PATHS))
def test_a_variable_that_changes_results_is_named_with_both_values(
    drift: Drift, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    assert drift(lambda: monkeypatch.setenv(name, "3")) == [f"variable {name}: nothing then, 3 now"]
    assert drift(lambda: monkeypatch.setenv(name, "4")) == [f"variable {name}: 3 then, 4 now"]
    assert drift(lambda: monkeypatch.setenv(name, "")) == [f"variable {name}: 4 then, nothing now"]


def test_of_a_path_no_folder_is_told(drift: Drift, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in fingerprint.PATHS:
        monkeypatch.delenv(name, raising=False)
    assert drift(lambda: monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))) == [], "they are there anyway"
    for name, told in (("PYTHONPATH", "set"), ("LD_LIBRARY_PATH", "set"), ("LD_PRELOAD", "jane.so b.so")):
        value = "/home/jane.so:/b.so" if name == "LD_PRELOAD" else "/home/jane"
        assert drift(lambda name=name, value=value: monkeypatch.setenv(name, value)) == [  # type: ignore[misc]
            f"variable {name}: nothing then, {told} now"
        ]


def test_another_os_package_is_named_with_both_versions(
    drift: Drift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packages(libc: str, *more: str) -> None:
        lines = [f"libc6:amd64 {libc} installed", "gone:all 1 config-files", *more]
        write_program(tmp_path / "dpkg-query", "\n".join(f"echo '{line}'" for line in lines))

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(fingerprint, "IMAGE", "/nowhere")  # also where the tests run in the image
    packages("2.36-9+deb12u10")
    assert drift(lambda: packages("2.36-9")) == [], "the local runtime does not ask for them"
    named = drift(lambda: monkeypatch.setattr(fingerprint, "IMAGE", sys.prefix))
    assert named == ["os packages: 0 then, 1 now"], "said once"
    assert drift(lambda: packages("2.36-9+deb12u13")) == ["os package libc6:amd64: 2.36-9 then, 2.36-9+deb12u13 now"]
    assert drift(lambda: packages("2.36-9+deb12u13", "curl:amd64 7.88 installed")) == [
        "os package curl:amd64: nothing then, 7.88 now"
    ]


def test_another_patch_version_of_the_interpreter_is_named(drift: Drift, monkeypatch: pytest.MonkeyPatch) -> None:
    was = platform.python_version()
    named = drift(lambda: monkeypatch.setattr(platform, "python_version", lambda: "3.11.99"))
    assert named == [f"interpreter version: {was} then, 3.11.99 now"]


def test_a_flag_of_the_interpreter_is_named(tmp_path: Path) -> None:
    def alone(*flags: str) -> Any:
        done = subprocess.run([sys.executable, *flags, SCRIPT], capture_output=True, check=True)
        return json.loads(done.stdout)

    assert differences(alone(), alone("-O")) == ["interpreter optimize: 0 then, 1 now"]


def test_the_machine_is_told_and_not_hashed(site: Path, root: Path) -> None:
    then = fingerprint.fingerprint(site=site, root=root)
    now = json.loads(json.dumps(then))
    now["machine"]["cpu"] = "Another"
    assert differences(then, now) == []
    assert differences(then, now, among="machine") == [f"cpu: {then['machine']['cpu']} then, Another now"]
    assert fingerprint.digest(now["same"]) == then["sha256"]


def test_neither_a_host_a_user_nor_a_path_is_told() -> None:
    text = json.dumps(fingerprint.fingerprint())
    names = [platform.node(), str(ROOT), str(Path.home()), sys.prefix]
    assert [name for name in names if f'"{name}' in text or f" {name}" in text] == []


def test_it_runs_alone_with_the_standard_library_and_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    alone = tmp_path / "build/src/samebench/environment/fingerprint.py"
    alone.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, alone)
    words = [sys.executable, "-S", "-I", "-B", str(alone), "--same"]
    one, other = (subprocess.run(words, capture_output=True, check=True, cwd=tmp_path).stdout for _ in "ab")
    assert one == other
    assert json.loads(one).keys() == {"format", "sha256", "same"}
    assert [path.name for path in alone.parent.iterdir()] == ["fingerprint.py"]


def test_wrong_use_gets_one_line_and_code_2() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--what"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: usage: python -m samebench.environment.fingerprint [--same]\n"


def test_make_fingerprint_writes_nothing_but_the_document() -> None:
    done = run(["make", "fingerprint"], cwd=ROOT, variables={"SAMEBENCH": "1"})
    document = json.loads(done.stdout)
    assert document["sha256"] == fingerprint.digest(document["same"])
    assert document["same"]["wheels"].keys() >= {"numpy", "torch", "uv"}
    assert len(list(Path(sysconfig.get_path("purelib")).glob("*.dist-info"))) == len(document["same"]["wheels"])


@pytest.mark.soak
def test_fifty_fingerprints_of_an_untouched_environment_are_one(request: pytest.FixtureRequest) -> None:
    first, *others = (fingerprint.fingerprint() for _ in range(50))
    assert [differences(first, other) for other in others] == [[]] * 49
    assert {other["sha256"] for other in others} == {first["sha256"]}
    record_figure(request.node.name, f"0 false alarms in 50; {busy()}")
