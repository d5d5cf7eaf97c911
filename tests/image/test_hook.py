"""Commits on a host that has git and an engine, and nothing else of ours."""

import json
from pathlib import Path

from tests.samebench.checkout import run
from tests.samebench.test_hook import IDENTITY, NOTEBOOK, make_clone, run_cells

HOST = {**IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null"}


def test_commit_on_the_host_is_stripped_and_checked_in_the_image(image: str, tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "my work")
    run(["make", "hooks"], cwd=clone, variables=HOST)
    run_cells(clone / NOTEBOOK)
    (clone / "key.pem").write_text("-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEpAIBAAKCAQEA7v3J\n")
    run(["git", "add", "--all"], cwd=clone, variables=HOST)
    staged = run(["git", "show", f":{NOTEBOOK}"], cwd=clone, variables=HOST).stdout
    assert staged
    assert not any(cell.get("outputs") for cell in json.loads(staged)["cells"])
    done = run(["git", "commit", "--message", "Second"], cwd=clone, variables=HOST)
    assert done.returncode == 1
    assert "Location:    key.pem:1" in done.stdout + done.stderr
    assert not (clone / ".venv").exists(), "the image was there, so nothing else was set up"


def test_what_is_piped_in_reaches_the_command_in_the_image(image: str, tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    line = "printf one | RUNTIME=docker python3 -I src/samebench/host cat"
    assert run(["sh", "-c", line], cwd=clone, variables=HOST).stdout == "one"
