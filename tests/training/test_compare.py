"""Runs side by side: what differs and nothing else, and a test only where the same images were asked."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from samebench.core.command import UsageError
from samebench.project import Metric
from samebench.runs.run import Run
from samebench.runs.significance import McNemarResult
from samebench.training import compare, comparison, figures, train
from samebench.training.model import Model
from tests.commands import call
from tiny import data
from tiny.settings import Settings

from .models import change_labels

QUICK = Settings(data="synthetic", epochs=2, network="linear", batch_size=100, shards=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that differ in their learning rate."""
    home = tmp_path_factory.mktemp("compare") / "runs"
    return [train.train(dataclasses.replace(QUICK, lr=lr), runs=home).directory for lr in (0.001, 0.01)]


@pytest.fixture
def runs(trained: list[Path], tmp_path: Path) -> list[Run]:
    """Copies of them, to be spoiled."""
    return [Run.open(Path(shutil.copytree(path, tmp_path / "runs" / path.name))) for path in trained]


def change(run: Run, **facts: Any) -> Run:
    run.record(**facts)
    return run


def test_what_differs_is_told_and_nothing_else(runs: list[Run]) -> None:
    groups = comparison.find_differences(runs)
    assert groups["settings"] == {"settings.lr": [0.001, 0.01]}
    assert set(groups) <= {"settings", "figures", "weights"}
    text = comparison.compare(runs)
    assert [line.split() for line in text.splitlines() if line.startswith("  lr")] == [["lr", "0.001", "0.01"]]
    for same in ("batch_size", "torch", "requirements.lock", "sequence", "checkout"):
        assert same not in text
    assert "the same: data, code, environment, machine" in text


def test_three_runs_have_three_columns_and_two_tests(runs: list[Run], tmp_path: Path) -> None:
    third = Run.open(Path(shutil.copytree(runs[0].directory, tmp_path / "runs/third")))
    text = comparison.compare([*runs, third])
    assert [line.split() for line in text.splitlines() if line.startswith("  lr")] == [["lr", "0.001", "0.01", "0.001"]]
    assert f"third against {runs[0].directory.name}: right about the same examples" in text
    assert text.count(f" against {runs[0].directory.name}: ") == 2


def test_nothing_that_a_receipt_says_steers_the_terminal(runs: list[Run]) -> None:
    change(runs[1], state="\x1b[2Jdone", device="c\x1b[31mpu\nweights")
    text = comparison.compare(runs)
    assert "�[2Jdone" in text
    assert "c�[31mpu weights" in text
    assert text.replace("\n", "").isprintable()


def test_changed_sources_are_counted_and_the_first_are_named(runs: list[Run]) -> None:
    code = json.loads(json.dumps(runs[1].receipt["code"]))
    names = sorted(code["source"])[:5]
    for name in names:
        code["source"][name] = "0" * 64
    change(runs[1], code={**code, "commit": "1" * 40})
    lines = comparison.compare(runs).splitlines()
    (told,) = (line for line in lines if "source files" in line)
    assert told == f"source files that differ: 5: {', '.join(names[:3])} and 2 more"
    assert f"  commit {'1' * 40}".split() == next(line for line in lines if line.startswith("  commit")).split()[::2]
    assert not [line for line in lines if line.startswith("  source")]
    assert "the same: data, environment" in lines[lines.index(told) + 1]


def test_facts_that_this_code_does_not_know_are_compared_too(runs: list[Run]) -> None:
    change(runs[1], init={"from": "elsewhere"})
    assert comparison.find_differences(runs)["more"] == {"init.from": [None, "elsewhere"]}


def test_the_better_run_is_better_by_more_than_chance(runs: list[Run]) -> None:
    (result,) = comparison.compare_on_test(runs)
    assert isinstance(result.test, McNemarResult)
    accuracies = [run.receipt["metrics"]["test"]["accuracy"] for run in runs]
    assert result.test.n01 - result.test.n10 == round(200 * (accuracies[1] - accuracies[0]))
    assert ("by more than chance" in str(result)) == (result.test.p < 0.05)


def test_other_data_have_no_test_and_are_compared_all_the_same(runs: list[Run]) -> None:
    change(runs[1], data_version="0" * 64)
    (result,) = comparison.compare_on_test(runs)
    assert str(result).endswith(
        f"no test: other data, {data.synthetic(0).version[:12]} and {'0' * 12}; {SAME_EXAMPLES}"
    )
    text = comparison.compare(runs)
    assert "data_version" in text
    assert "  validation_loss" in text


SAME_EXAMPLES = "a test takes the same examples"


def test_other_labels_have_no_test(runs: list[Run]) -> None:
    model = Model.load(runs[1].weights)
    change_labels(model, [*model.spec["labels"][:-1], "Boot"]).save(runs[1].weights)
    del runs[1].receipt["model"]  # as in a receipt of an older version
    (result,) = comparison.compare_on_test(runs)
    only = ", ".join(sorted(["Boot", model.spec["labels"][-1]]))
    assert (
        result.reason == f"other categories (2 are not in both, such as {only}); a test takes models of the same data"
    )


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_a_run_that_is_not_done_has_no_test(state: str, runs: list[Run]) -> None:
    runs[0].receipt["metrics"].pop("test")
    change(runs[0], state=state)
    (result,) = comparison.compare_on_test(runs)
    assert result.reason == f"{runs[0].directory} is {state}; a test takes runs that are done"
    assert [line.split() for line in comparison.compare(runs).splitlines() if line.startswith("  state")] == [
        ["state", state, "done"]
    ]


def test_weights_that_are_not_the_receipt_s_are_named(runs: list[Run]) -> None:
    model = Model.load(runs[1].weights)
    with torch.no_grad():
        next(model.network.parameters()).add_(0.1)
    model.save(runs[1].weights)
    (result,) = comparison.compare_on_test(runs)
    expected = runs[1].receipt["weights_sha256"][:12]
    assert f"{runs[1].weights}: these weights are {model.digest()[:12]}, its receipt says {expected}" in result.reason


def test_damaged_weights_are_named(runs: list[Run]) -> None:
    runs[1].weights.write_bytes(b"damaged")
    (result,) = comparison.compare_on_test(runs)
    assert str(runs[1].weights) in result.reason


def test_data_that_are_not_those_of_the_runs_are_named(runs: list[Run]) -> None:
    for run in runs:
        change(run, data_version="0" * 64)
    (result,) = comparison.compare_on_test(runs)
    assert f"{runs[0].directory}: trained on data {'0' * 12}, here are " in result.reason
    assert result.reason.endswith("; no commit here has that of then")


def test_curves_of_all_are_in_one_picture(runs: list[Run]) -> None:
    path = comparison.draw(runs, comparison.find_differences(runs))
    assert path == runs[0].directory / "compare.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400


def test_runs_whose_names_are_long_have_a_curve_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, real = list[str](), figures.together

    def together(histories: dict[str, Any], metric: Metric, *, title: str) -> Any:
        drawn.extend(histories)
        return real(histories, metric, title=title)

    monkeypatch.setattr(figures, "together", together)
    history = [{"train_loss": 1.0, "validation_loss": 1.0, "validation_accuracy": 0.5}]
    places = [tmp_path / ("long" * 20) / home / "one" for home in ("ours", "theirs")]
    for place in places:
        place.mkdir(parents=True)
    comparison.draw([Run(place, {"history": history}) for place in places], {})
    assert drawn == [str(place) for place in places]


def test_runs_without_an_epoch_have_no_picture(runs: list[Run]) -> None:
    for run in runs:
        change(run, history=[])
    assert "no curves: no run has come to the end of an epoch" in comparison.compare(runs)


def test_ids_and_directories_are_taken_and_json_is_one_document(runs: list[Run], tmp_path: Path) -> None:
    words = f"{runs[0].directory.name} {runs[1].directory}"
    done = call("-m", "samebench.training.compare", "--runs", words, "--json", at=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["differs"]["settings"] == {"settings.lr": [0.001, 0.01]}
    assert told["tests"][0].keys() == {"first", "second", "n01", "n10", "p", "more_than_chance"}
    assert (tmp_path / told["picture"]).is_file()


def test_the_newest_are_those_that_are_done_on_these_data(runs: list[Run], tmp_path: Path) -> None:
    home, version = tmp_path / "runs", data.synthetic(0).version
    for name, facts in {"3": {"state": "failed"}, "4": {"data_version": "0" * 64}}.items():
        change(Run.open(Path(shutil.copytree(runs[0].directory, home / name))), **facts)
    (home / "5").mkdir()
    (home / "5/receipt.json").write_text("{")
    assert [run.directory for run in comparison.newest(home, version=version)] == sorted(run.directory for run in runs)
    assert comparison.newest(home, version="0" * 64) == []


def test_fewer_than_two_runs_or_one_twice_are_refused(runs: list[Run]) -> None:
    name = str(runs[0].directory)
    for words, message in {"": "too few", name: "too few", f"{name} {name}/": "is there twice"}.items():
        with pytest.raises(UsageError, match=f"{message}; give two or more"):
            compare.find(words)


def test_a_run_that_is_not_there_is_refused_by_name(runs: list[Run]) -> None:
    with pytest.raises(UsageError, match=r"^none: no run with a receipt there"):
        compare.find(f"{runs[0].directory} none")
