"""`make flow`: what is up to date, what was never made, and how it is said; looking changes nothing."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.runs.flow_steps import MISSING
from samebench.shipping import flow
from tests.commands import call
from tests.samebench.checkout import copy_checkout, run

from .benches import NOBODYS, STEPS, Bench, bench, made, states, store

__all__ = ["bench", "made"]  # fixtures


def test_where_all_was_made_from_this_all_is_up_to_date_and_nothing_is_to_be_done(bench: Bench) -> None:
    steps = bench.flow()
    assert states(steps) == {}
    assert {step["command"] for step in steps.values()} == {""}
    workspace, server = bench.names()
    assert [steps[name]["why"] for name in ("data", "workspace", "evaluation", "artifact", "server image")] == [
        "blots: 2 files, by their hashes",
        f"{workspace}, docker",
        "evaluation.json, of these weights",
        "model.onnx, of these weights",
        server,
    ]
    assert re.fullmatch(r"\S+, validation accuracy \d+\.\d\d%", steps["training run"]["why"])
    assert steps["bundle"]["why"].startswith("dist/tiny-")
    assert [step["from"] for step in steps.values()][2:5] == [["data", "workspace"], ["training run"], ["training run"]]


def test_it_looks_and_changes_nothing_but_the_picture(bench: Bench) -> None:
    def seen() -> dict[str, tuple[int, bytes]]:
        paths = [path for path in bench.root.rglob("*") if path.is_file() and ".samebench" not in path.parts]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}

    before = seen()
    bench.flow()
    assert seen() == before
    written = [path.name for path in (bench.root / ".samebench").iterdir()]
    assert [name for name in written if not name.startswith("installed-")] == ["flow.md"]


def test_nothing_that_is_installed_is_needed(bench: Bench) -> None:
    packages = "{'torch', 'numpy', 'onnx', 'safetensors'}"
    line = f"import sys, samebench.shipping.flow; print(sorted({packages} & sys.modules.keys()))"
    done = call("-c", line, at=bench.root)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_where_nothing_was_made_each_step_says_what_makes_it(tmp_path: Path, made: Bench) -> None:
    fresh = Bench(copy_checkout(tmp_path / "fresh"), tmp_path / "bin")
    shutil.copytree(made.programs, fresh.programs)
    fresh.images({})
    store(fresh.root, seed=0)
    shutil.rmtree(fresh.root / "data/blots")
    steps = fresh.flow()
    assert states(steps) == dict.fromkeys(STEPS, MISSING)
    assert [step["command"] for step in steps.values()] == [
        "make data",
        "make build",
        "make train",
        "make evaluate",
        "make export",
        "make serve",
        "make ship KEY=~/samebench.key",
    ]


def test_it_is_said_in_one_line_a_step(bench: Bench) -> None:
    bench.edit("src/samebench/training/loop.py")
    done = run(["make", "flow"], cwd=bench.root, path=bench.programs, variables=NOBODYS)
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == list(STEPS)
    assert re.search(r"^training run +stale +changed: src/samebench/training/loop\.py +make train ARGS=", lines[2])
    assert lines[-1] == "drawn in .samebench/flow.md"
    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_to_tell_of_the_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(UsageError, match="start it by make flow"):
        flow.main([])


def test_the_data_set_asked_for_chooses_the_run(bench: Bench) -> None:
    first = bench.run
    shutil.copytree(first, first.with_name("99991231-235959-zzzz"))
    bench.record(settings={"data": "synthetic"})
    (bench.run / "evaluation.json").unlink()
    steps = bench.flow("--data", "synthetic")
    assert steps["data"]["why"] == "synthetic: made, and not stored"
    assert steps["evaluation"]["command"] == f"make evaluate RUN=runs/{bench.run.name}"
    (first / "evaluation.json").unlink()
    for asked in ([], ["--data", "blots"]):
        steps = bench.flow(*asked)
        assert states(steps) == {"evaluation": MISSING}
        assert steps["evaluation"]["command"] == "make evaluate", "which takes no toy by itself"
    shutil.rmtree(bench.run)
    assert bench.flow("--data", "synthetic")["training run"]["command"] == "make train DATA=synthetic"
