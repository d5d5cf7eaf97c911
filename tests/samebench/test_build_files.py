"""The Makefile, the Dockerfiles and what reaches a build: what stands once, and what must not stand there."""

import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from samebench.environment.lock import declared_requirements

from .checkout import ROOT, run


def test_two_dockerfiles_differ_only_in_their_lock() -> None:
    cpu, gpu = ((ROOT / f"docker/{name}.Dockerfile").read_text().splitlines() for name in ("cpu", "gpu"))
    differing = [(a, b) for a, b in zip(cpu, gpu, strict=True) if a != b]
    assert 0 < len(differing) < 10
    assert all(a.replace("docker/cpu.", "docker/gpu.") == b for a, b in differing[1:]), "line 1 says which it is"


def test_apt_of_an_official_base_is_frozen_at_its_own_snapshot(tmp_path: Path) -> None:
    sources = tmp_path / "debian.sources"
    sources.write_text(
        "Types: deb\n# http://snapshot.example/archive/debian/20260601T000000Z\nURIs: http://mirror.example/debian\n"
        "Suites: bookworm bookworm-updates\n\nTypes: deb\n"
        "# http://snapshot.example/archive/debian-security/20260601T000000Z\nURIs: http://mirror.example/security\n"
    )
    dockerfile = (ROOT / "docker/cpu.Dockerfile").read_text()
    expression = dockerfile.split("sed -i -E '")[1].split("'")[0].replace(r"snapshot/", "snapshot/")
    subprocess.run(["sed", "-i", "-E", expression, sources], check=True)
    text = sources.read_text()
    assert "mirror.example" not in text
    assert text.count("URIs: http://snapshot.example/archive/debian") == 2
    assert text.count("Check-Valid-Until: no") == 2


def test_version_of_python_stands_in_one_place() -> None:
    version = declared_requirements()[0]
    where = ["Makefile", "docker/*.Dockerfile", "src", ".devcontainer", "pyproject.toml"]
    named = run(["git", "grep", "-lF", version, "--", *where], cwd=ROOT)
    if named.returncode > 1:
        pytest.skip(f"no git history here: {named.stderr.strip()}")
    assert named.stdout.split() == ["pyproject.toml"]
    assert sys.version_info[:2] == tuple(map(int, version.split(".")))


def test_every_target_is_dry_runnable_and_listed_in_the_help() -> None:
    targets = next(
        line.split()[1:] for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY")
    )
    listed = run(["make"], cwd=ROOT).stdout
    for target in targets:
        done = run(["make", "-n", target, "PKG=x"], cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert f"\n{target} " in f"\n{listed}"


def test_makefile_keeps_to_what_gnu_make_3_81_knows() -> None:
    text = (ROOT / "Makefile").read_text()
    for newer in ("!=", "::=", ".ONESHELL", "$(file", "$(guile", "&:", "$(intcmp", "$(let"):
        assert newer not in text


def test_nothing_but_the_locks_install_and_the_server_reaches_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines[1:-1]}
    modules = {
        "": ["project"],
        "core/": ["__init__", "command", "files", "local_server", "paths", "text", "untrusted"],
        "environment/": ["__init__", "cores", "fingerprint"],
        "host/": ["__init__", "errors", "ports"],
        "tasks/": ["__init__"],
        "tasks/image_classification/": [
            "__init__",
            "colour_profile",
            "decode_image",
            "image_file",
            "image_transform",
            "jpeg_file",
            "picture_file",
            "png_file",
            "serving",
            "webp_file",
        ],
        "tasks/table/": ["__init__", "columns", "serving"],
        "tasks/text_classification/": ["__init__", "serving", "tokens"],
    }
    server = {f"src/samebench/{room}{name}.py" for room, names in modules.items() for name in names}
    server |= {"src/*/__init__.py", "src/*/serving", "src/*/serving.py"}
    locks = {"docker/cpu.lock", "docker/gpu.lock", "docker/serve.lock", "requirements.lock"}
    told = {"docker/cpu.Dockerfile", "docker/gpu.Dockerfile"}  # by the fingerprint in the image
    workspace = {"docker/nss_caller.c", "docker/profile.sh"}
    assert allowed == {*locks, *told, *workspace, "src/samebench/environment/install.sh", *server}
    assert lines[-1] == "**/__pycache__"


# What editors, shells and git act on when a folder is opened or entered.
OPENED = [".vscode", ".idea", "*.code-workspace", ".envrc", ".env", ".mise*", ".tool-versions", ".python-version"]
OPENED += [
    ".gitmodules",
    ".githooks",
    "GNUmakefile",
    "makefile",
    "sitecustomize.py",
    "usercustomize.py",
    "*.pth",
    ".venv*",
]


def test_nothing_is_there_that_runs_when_the_folder_is_opened() -> None:
    listed = run(["git", "ls-files", "-z"], cwd=ROOT)
    if listed.returncode:
        pytest.skip(f"no git history here: {listed.stderr.strip()}")
    parts = {part for name in listed.stdout.split("\0") for part in Path(name).parts}
    assert not [part for part in parts if any(fnmatch(part, pattern) for pattern in OPENED)]


def test_help_and_a_dry_run_start_no_program_of_the_checkout(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)  # nothing else is there that could be started
    for words in (["make"], ["make", "help"], ["make", "-n", "train", "notebook", "test", "GPU=1"]):
        done = run(words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]
