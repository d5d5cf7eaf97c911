"""`make runs`: every run is listed, whatever state its receipt is in."""

import json
import os
import time
from pathlib import Path

import pytest

from samebench import project
from samebench.core import file_lock, flags
from samebench.core.table import width
from samebench.core.untrusted import MAX_BYTES
from samebench.runs import notes
from tests.commands import call
from tests.samebench.checkout import copy_checkout, run
from tests.samebench.recorded import DEFAULTS, name, on_terminal, write_run

WORDS = ("-m", "samebench.runs.list_runs")


def table(at: Path, *words: str) -> list[str]:
    done = call(*WORDS, *words, at=at)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def listed(at: Path, *words: str) -> list[str]:
    """The names of the runs in their order."""
    done = call(*WORDS, "--json", *words, at=at)
    assert (done.returncode, done.stderr) == (0, "")
    return [each["run"] for each in json.loads(done.stdout)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Four runs: 3 is not done, 0 is the best."""
    home = tmp_path / "runs"
    write_run(home, 0)
    write_run(home, 1, settings={"epochs": 2, "lr": 0.1})
    write_run(home, 2, settings={"network": "linear", "fast": True, "epochs": 12})
    write_run(home, 3, state="failed")
    return home


def test_newest_run_is_first_and_tells_only_what_was_changed(home: Path) -> None:
    lines = table(home.parent)
    assert [line.split()[:1] for line in lines[2:]] == [[name(number)] for number in (3, 2, 1, 0)]
    assert lines[4].split() == [
        name(1), "done", "93.90%", "0.4100", "92.90%", "140.0", "ccccccc", "dddddddd", "epochs=2", "lr=0.1",
    ]  # fmt: skip
    assert lines[5].split()[-1] == "-", "all at their defaults"
    assert lines[2].split()[:6] == [name(3), "failed", "-", "-", "-", "-"]


def test_the_best_alone_is_marked(home: Path) -> None:
    lines = table(home.parent)
    assert [line.count("*") for line in lines] == [0, 0, 0, 0, 0, 1]


def test_the_best_on_other_data_is_marked_beside_it(home: Path) -> None:
    write_run(home, 4, validation_accuracy=1.0, data_version="e" * 64)
    lines = table(home.parent)
    assert [line.count("*") for line in lines] == [0, 0, 1, 0, 0, 0, 1]


def test_a_dirty_commit_bears_a_plus(home: Path) -> None:
    write_run(home, 4, code={"commit": "f" * 40, "dirty": True})
    assert "fffffff+" in table(home.parent)[2]


def test_a_run_that_was_resumed_with_other_inputs_says_so(home: Path) -> None:
    write_run(home, 4, settings={"epochs": 2}, resumed=[{"changed": ["settings.epochs: 1 then, 2 now"]}])
    write_run(home, 5, resumed=[{"changed": []}, {"changed": ["code.commit: a then, b now"]}])
    write_run(home, 6, settings={"epochs": 2}, resumed=[{"changed": []}])
    told = "\n".join(table(home.parent))
    assert told.count("more on the way") == 2
    assert told.count("epochs=2, more on the way") == 1


def test_defaults_here_are_those_of_the_project() -> None:

    assert flags.defaults(project.settings_class()).items() >= DEFAULTS.items()


def test_an_old_receipt_without_a_setting_and_one_with_a_setting_that_is_gone_are_listed(home: Path) -> None:
    old = {each: value for each, value in DEFAULTS.items() if each != "label_smoothing"} | {"momentum": 0.9}
    write_run(home, 4)
    receipt = json.loads((home / name(4) / "receipt.json").read_text())
    (home / name(4) / "receipt.json").write_text(json.dumps({**receipt, "settings": old}))
    assert table(home.parent)[2].split()[-1] == "momentum=0.9"
    assert listed(home.parent, "--filter", "momentum=0.9") == [name(4)]


def test_a_receipt_with_nothing_but_its_state_is_listed(home: Path) -> None:
    (home / name(4)).mkdir()
    (home / name(4) / "receipt.json").write_text('{"state": "done"}')
    assert table(home.parent)[-1].split() == [name(4), "done", *"-------"], "nothing tells when it was made"


@pytest.mark.parametrize(
    ("asked", "order"),
    [
        ("test_accuracy", [0, 1, 2, 3]),
        ("-test_accuracy", [2, 1, 0, 3]),
        ("-validation_loss", [0, 1, 2, 3]),
        ("epochs", [2, 3, 0, 1]),
        ("network", [2, 3, 1, 0]),
        ("-run", [0, 1, 2, 3]),
    ],
)
def test_runs_are_sorted_by_any_column_or_setting_and_those_without_come_last(
    home: Path, asked: str, order: list[int]
) -> None:
    assert listed(home.parent, f"--sort={asked}") == [name(number) for number in order]


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("epochs>=6", [3, 2, 0]),
        ("epochs>=6, state=done", [2, 0]),
        ("epochs>=6 and state!=done", [3]),
        ("epochs<6,lr<=0.1", [1]),
        ("test_accuracy>92.85%", [1, 0]),
        ("test_accuracy>0.9285", [1, 0]),
        ("network = linear", [2]),
        ("fast=true", [2]),
        ("fast!=True", [3, 1, 0]),
        ("commit=cccc", [3, 2, 1, 0]),
        ("commit=dddd", []),
        ("lr>1", []),
    ],
)
def test_a_filter_leaves_the_runs_for_which_all_comparisons_hold(home: Path, asked: str, left: list[int]) -> None:
    assert listed(home.parent, "--filter", asked) == [name(number) for number in left]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--filter", "epohcs>=5"], "FILTER=epohcs>=5: no column or setting is called epohcs; did you mean epochs?"),
        (["--filter", "zzz=1"], "there are run, project, state, seconds, started, commit, "),
        (["--filter", "epochs>=five"], "FILTER=epochs>=five: it is a number; give one, such as 5, 0.1 or 92%"),
        (["--filter", "epochs"], 'FILTER=epochs: give comparisons such as "epochs>=5, network=conv"'),
        (["--filter", "epochs>=5,"], "give comparisons"),
        (["--filter", "state=done and"], "give comparisons"),
        (["--filter", "and state=done"], "give comparisons"),
        (["--filter", "1<epochs<5"], "give comparisons"),
        (["--filter", "__import__('os')"], "give comparisons"),
        (["--sort", "acuracy"], "SORT=acuracy: no column or setting is called acuracy; did you mean test_accuracy?"),
    ],
)
def test_a_mistake_is_refused_in_one_line(home: Path, words: list[str], said: str) -> None:
    done = call(*WORDS, *words, at=home.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


DAMAGES = {
    "": "not JSON",
    '{"state": "done", "sett': "not JSON",
    "[1, 2]": "not a JSON object",
    "{}": "state is null, not one of",
    '{"state": "dreaming"}': 'state is "dreaming", not one of',
    '{"state": ["done"]}': 'state is ["done"], not one of',
    '{"state": "done", "settings": []}': "settings is [], not an object",
    '{"state": "done", "code": {"commit": 7}}': "code.commit is 7, not text",
    '{"state": "done", "data_version": 7}': "data_version is 7, not text",
    '{"state": "done", "test_accuracy": "high"}': "test_accuracy is no number",
    '{"state": "done", "test_accuracy": 93.1}': "test_accuracy is not a number that it can be",
    '{"state": "done", "test_accuracy": NaN}': "test_accuracy is not a number",
    f'{{"state": "done", "seconds": 1{"0" * 400}}}': "not JSON (a whole number of more than 19 digits)",
    '{"state": "done", "resumed": [1]}': "resumed is [1], not a list of objects",
    '{"state": "done", "validation_accuracy": 2}': "validation_accuracy is not a number that it can be",
    '{"state": "done", "history": {"epoch": 1}}': 'history is {"epoch": 1}, not a list of objects',
    '{"state": "done", "sequence": -1}': "sequence is -1, not a number from 0 on",
    '{"state": "done", "sequence": true}': "sequence is true, not a number from 0 on",
    '{"state": "done", "reproduces": []}': "reproduces is [], not text",
    '{"state": "done", "listings": 7}': "listings is 7, not an object",
    "[" * 100_000: "not JSON (maximum recursion",
    "\ud800": "not JSON",
    " " * (MAX_BYTES + 1): "receipt.json: not a file of at most",
}


@pytest.mark.parametrize("content", DAMAGES, ids=[*DAMAGES.values()])
def test_a_damaged_run_is_shown_with_the_reason_beside_the_others(home: Path, content: str) -> None:
    (home / name(4)).mkdir()
    (home / name(4) / "receipt.json").write_bytes(content.encode(errors="surrogatepass"))
    lines = table(home.parent)
    assert len(lines) == 7
    assert lines[2].split()[:2] == [name(4), "damaged"]
    assert DAMAGES[content] in lines[2]
    assert listed(home.parent, "--sort", "test_accuracy", "--filter", "state!=failed")[-1] == name(4)


def test_what_stands_in_the_place_of_a_receipt_is_told(home: Path) -> None:
    for number in range(4):
        (home / name(10 + number)).mkdir()
    (home / name(10) / "receipt.json").mkdir()
    os.mkfifo(home / name(11) / "receipt.json")
    (home / name(12) / "receipt.json").symlink_to("nowhere")
    missing, link, fifo, folder = table(home.parent)[2:6]
    assert missing.endswith("receipt.json: No such file or directory")
    assert "receipt.json: can't be read (a symbolic link)" in link
    assert "receipt.json: not a file" in fifo
    assert "receipt.json: not a file" in folder


def test_a_folder_that_is_no_run_is_not_listed(home: Path) -> None:
    (home / "pictures").mkdir()
    (home / ".hidden").mkdir()
    (home / ".hidden/receipt.json").write_text("{}")
    (home / name(9)).write_text("a file")
    assert len(table(home.parent)) == 6


def test_a_run_that_nobody_works_on_is_interrupted_and_nothing_of_it_is_changed(home: Path) -> None:
    left = write_run(home, 4, state="running").directory
    (home / name(5)).mkdir()
    (home / name(5) / "receipt.json").write_text('{"state": "running"}')
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in left.iterdir()}
    lines = table(home.parent)
    assert [line.split()[:2] for line in (lines[2], lines[-1])] == [[name(n), "interrupted"] for n in (4, 5)]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in left.iterdir()} == before
    assert not (home / name(5) / ".lock").exists()


def test_a_run_at_work_is_running_also_before_it_has_a_receipt(home: Path) -> None:
    (home / name(5)).mkdir()
    for directory in (write_run(home, 4, state="running").directory, home / name(5)):
        file_lock.acquire(directory)
    assert [line.split()[1] for line in table(home.parent)[2:4]] == ["running", "running"]


def test_looking_does_not_keep_a_training_from_its_run(home: Path) -> None:
    handle = os.open(home / name(0) / ".lock", os.O_RDONLY)
    assert file_lock.is_locked(home / name(0)) is False
    taken, alone = file_lock.acquire(home / name(0))
    assert alone
    os.close(taken)
    os.close(handle)


def test_nothing_of_a_run_steers_the_terminal(home: Path) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202egnp\u2028\x9b1m\r"
    write_run(
        home, 4, settings={"data": evil, "network": "\ud800"}, code={"commit": f"\x1b[31m{evil}"}, data_version=evil
    )
    (home / name(4)).rename(home / "x\x1b[2J\x07")
    notes.add(home / "x\x1b[2J\x07", f"note{evil}")
    (home / name(5)).mkdir()
    (home / name(5) / "receipt.json").write_text(json.dumps({"state": evil}))
    for words in ((), ("--json",)):
        done = call(*WORDS, *words, at=home.parent)
        assert done.returncode == 0
        assert "note" in done.stdout
        assert all(letter.isprintable() or letter == "\n" for letter in done.stdout)


@pytest.mark.parametrize("columns", [200, 100, 80, 60])
def test_the_table_fits_the_terminal(home: Path, columns: int) -> None:
    write_run(home, 4, settings={"data": "/a/very/long/way/to/the/data", "epochs": 3, "weight_decay": 0.001})
    notes.add(home / name(4), "服の写真 " * 20)
    code, shown = on_terminal(WORDS, at=home.parent, columns=columns)
    assert code == 0
    assert len(shown.splitlines()) == 7
    assert max(map(width, shown.splitlines())) <= columns
    assert name(4) in shown
    assert "93.60%" in shown


def test_a_pipe_gets_every_note_and_setting_whole(home: Path) -> None:
    notes.add(home / name(3), long := "why " * 100 + "end")
    assert long in table(home.parent)[2]


def test_json_has_hashes_and_notes_whole_and_is_json_where_a_loss_is_not_a_number(home: Path) -> None:
    write_run(home, 4, validation_loss=float("nan"))
    notes.add(home / name(4), "two\nlines")
    done = call(*WORDS, "--json", at=home.parent)
    first = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))[0]
    assert first["validation_loss"] is None
    assert first["commit"] == "c" * 40
    assert first["notes"][0]["text"] == "two\nlines"
    assert first["settings"] == DEFAULTS
    assert (first["changed"], first["best"], first["damage"]) == ({}, False, None)


def test_no_runs_yet_is_said(tmp_path: Path) -> None:
    assert table(tmp_path) == ["runs: no runs yet; make train"]
    assert listed(tmp_path) == []


def test_a_filter_that_leaves_nothing_says_of_how_many(home: Path) -> None:
    assert table(home.parent, "--filter", "lr>1") == ["none of 4 runs"]


def test_fifty_runs_are_listed_without_torch_and_within_seconds(tmp_path: Path) -> None:
    for number in range(50):
        write_run(tmp_path / "runs", number, settings={"seed": number})
    begun = time.monotonic()
    assert len(table(tmp_path)) == 52
    assert time.monotonic() - begun < 5  # measured in benchmarks/listing.py; here a loose bound
    code = f"import sys; from samebench.runs import list_runs; list_runs.main({list(WORDS[2:])})"
    code += "; assert 'torch' not in sys.modules"
    assert call("-c", code, at=tmp_path).returncode == 0


def test_make_passes_every_word_on(tmp_path: Path) -> None:
    tree = copy_checkout(tmp_path / "my work")
    for number in range(4):
        write_run(tree / "runs", number, settings={"epochs": number + 1})
    here = {"SAMEBENCH": "1", "PYTHONPATH": str(tree / "src")}
    words = ["make", "runs", "SORT=-epochs", "FILTER=epochs>=2 and network=conv", "JSON=1"]
    done = run(words, cwd=tree, variables=here)
    assert [each["run"] for each in json.loads(done.stdout)] == [name(number) for number in (1, 2, 3)]
    assert len(run(["make", "runs"], cwd=tree, variables=here).stdout.splitlines()) == 6
    refused = run(["make", "sweep", "GRID=lr=-1", "JOBS=2", "ARGS=--epochs 2"], cwd=tree, variables=here)
    assert refused.stderr.splitlines()[0] == "error: setting lr=-1.0 is impossible; take a number above 0"
    assert run(["make", "prune", "KEEP=best,last"], cwd=tree, variables=here).returncode == 2
    done = run(["make", "prune", "KEEP=best,last", "YES=1"], cwd=tree, variables=here)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 deleted")
