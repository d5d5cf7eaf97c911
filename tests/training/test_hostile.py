"""A run whose receipt a stranger wrote: each verb refuses it in a line or takes it, and nothing steers a terminal."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from samebench.core import command, files
from samebench.core.command import RequirementError, UsageError
from samebench.core.text import printable
from samebench.data.source import Source
from samebench.environment import determinism
from samebench.runs.run import Run
from samebench.serving import export, onnx_export
from samebench.shipping import flow
from samebench.tasks.image_classification import evaluation
from samebench.training import compare, comparison, evaluate, reproduce, reproduction, train
from samebench.training.__main__ import parse_args
from samebench.training.initial_models import InitialModel
from tiny.settings import Budgets, Settings

LEAST = ("--min-test-accuracy", "0", "--max-latency-ms-p99", "10000")
ESCAPE = "\x1b[2J\x1b]0;mine\x07\x9b31m\u202e"
VALUES: dict[str, Any] = {
    "escape": ESCAPE,
    "line": "done\nidentical: weights",
    "number": 7,
    "fraction": -1.5,
    "list": [ESCAPE],
    "object": {ESCAPE: ESCAPE},
    "nothing": None,
    "truth": True,
}
FIELDS = (
    *("run", "state", "started", "settings", "data_version", "device", "code", "locks", "environment", "machine"),
    *(
        "history",
        "resumed",
        "weights_sha256",
        "artifact_sha256",
        "model",
        "metrics",
        "metric_definitions",
        "listings",
    ),
    *("settings.data", "settings.network", "settings.epochs", "settings.lr", "settings.init", "settings.fast"),
    *("metrics.validation", "metrics.validation.loss", "metrics.test", "metrics.test.accuracy", "metric_definitions.0"),
    *("code.commit", "code.source", "history.0", "history.0.train_loss", "more"),
)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that starts itself again would start pytest again."""
    monkeypatch.setattr(determinism, "reexecute", lambda **_: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, one of them exported."""
    home = tmp_path_factory.mktemp("hostile")
    settings = Settings(data="synthetic", network="linear", epochs=1, batch_size=100, shards=2)
    for name in ("20261126-120000-good", "20261126-130000-evil"):
        run = train.train(settings, runs=home / "runs")
        onnx_export.export(run, Budgets(min_test_accuracy=0, max_latency_ms_p99=10_000))
        run.directory.rename(home / "runs" / name)
    return home


@pytest.fixture
def evil(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run whose receipt is to be changed; it is the working directory's runs/20261126-130000-evil."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Path("runs/20261126-130000-evil")


def changed(receipt: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """A copy of the receipt in which a field has this value."""
    made: Any = copy.deepcopy(receipt)
    place = made
    *above, last = [int(part) if part.isdecimal() else part for part in field.split(".")]
    for part in above:
        place = place[part]
    place[last] = value
    return dict(made)


def contents(receipt: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Hostile receipts as they stand in their files, each with its name."""
    for field in FIELDS:
        for name, value in VALUES.items():
            yield f"{field} {name}", json.dumps(changed(receipt, field, value))
    whole = json.dumps(receipt)
    for name, number in {"inf": "1e999", "nan": "NaN", "infinity": "-Infinity", "digits": "9" * 5000}.items():
        for field, fact in (("accuracy", receipt["metrics"]["test"]["accuracy"]), ("seconds", receipt["seconds"])):
            value = json.dumps(fact)
            yield f"{field} {name}", whole.replace(f'"{field}": {value}', f'"{field}": {number}')
    yield "200 per cent", json.dumps(receipt | {"metrics": {"validation": {"accuracy": "2"}}})
    yield "twice", whole[:-1] + ', "state": "done"}'
    yield "deep", whole[:-1] + f', "more": {"[" * 900}{"]" * 900}}}'
    yield "deeper", whole[:-1] + f', "more": {"[" * 90_000}{"]" * 90_000}}}'
    yield "surrogate", json.dumps(changed(receipt, "settings.data", "\ud83d"))
    yield (
        "many settings",
        json.dumps(receipt | {"settings": {f"{ESCAPE}{number}": number for number in range(100_000)}}),
    )
    yield "a list", "[]"
    yield "cut", whole[: len(whole) // 2]
    yield "nul", whole.replace("done", "do\0ne")


def resume(words: list[str]) -> None:
    parse_args(["--resume", words[1]])


def take_initial(words: list[str]) -> None:
    InitialModel.load(words[1])


def show_flow(words: list[str]) -> None:
    run = flow.choose_run(flow.Args(run=words[1]))
    for step in (flow.training_step(run, Source.of("synthetic")), flow.evaluation_step(run), flow.artifact_step(run)):
        print(printable(step.why), printable(step.command))


def show_side_by_side(words: list[str]) -> None:
    runs = compare.find(f"runs/20261126-120000-good {words[1]}")
    groups, sources = comparison.find_differences(runs), comparison.sources(runs)
    print(comparison.table(runs, groups, sources))
    json.dumps(groups)


def repeat(words: list[str]) -> None:
    receipt = reproduce.find_receipt(words[1])
    Run(Path(words[1]), receipt).read_settings()
    print(printable(reproduction.verdict(receipt, receipt)[1]))


QUICK: dict[str, Callable[[list[str]], Any]] = {
    "resume": resume,
    "init": take_initial,
    "flow": show_flow,
    "compare": show_side_by_side,
    "reproduce": repeat,
    "serve and ship": lambda words: export.main(["--if-needed", *LEAST, *words]),
}
SLOW: dict[str, Callable[[list[str]], Any]] = {
    "evaluate": evaluate.main,
    "export": lambda words: export.main([*LEAST, *words]),
    "compare whole": lambda words: print(comparison.compare(compare.find(f"{words[1]} runs/20261126-120000-good"))),
}


def check(
    evil: Path, verbs: dict[str, Callable[[list[str]], Any]], capsys: pytest.CaptureFixture[str], *, step: int = 1
) -> int:
    """Every hostile receipt with every verb; how many receipts there were."""
    receipt = json.loads((evil / "receipt.json").read_bytes())
    before = outside(evil)
    names, failures = [], []
    for name, content in list(contents(receipt))[::step]:
        names.append(name)
        for verb, start in verbs.items():
            (evil / "receipt.json").write_text(content)
            said = ""
            try:
                start(["--run", str(evil)])
            except (UsageError, RequirementError) as refusal:
                said = printable(refusal)
            except Exception as error:  # noqa: BLE001 - each is told, with what led to it
                failures.append(f"{verb} of {name}: {error!r}")
            shown = capsys.readouterr()
            text = f"{shown.out}{shown.err}{said}".replace("\n", "").replace("\t", "")
            if not text.isprintable() or "200.00%" in text:
                failures.append(f"{verb} of {name}: {text!r}")
    assert not failures, "\n".join(each[:200] + " ... " + each[-160:] for each in failures)
    assert outside(evil) == before
    return len(names)


def outside(evil: Path) -> dict[str, str]:
    """The hash of each file beside the run's folder."""
    paths = [path for path in Path.cwd().rglob("*") if path.is_file() and evil.name not in path.parts]
    return {str(path): files.digest(path) for path in paths}


def test_no_receipt_of_a_stranger_ends_in_a_traceback_or_steers_the_terminal(
    evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(evil, QUICK, capsys, step=3) > 80


@pytest.mark.soak
def test_nor_does_any_of_all_of_them(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(evil, QUICK, capsys) > 200


@pytest.mark.soak
def test_nor_does_one_that_is_evaluated_exported_or_drawn(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(evil, SLOW, capsys) > 200


def test_names_with_dollar_signs_markup_and_escapes_are_drawn_and_written_as_they_are() -> None:
    import torch  # noqa: PLC0415

    from samebench.tasks.image_classification import card  # noqa: PLC0415

    names = ["$\\frac{1}{0}$", "a|b", "<script>", "```", ESCAPE]
    matrix = torch.eye(5, dtype=torch.long)
    assert evaluation.draw(matrix, [printable(name) for name in names], title="$x")[:4] == b"\x89PNG"
    assert card.weakest(torch.tensor([[0, 1], [0, 1]]), ["<b>|`", "*a*"]).startswith("\\<b\\>\\|\\`, of which 0.0%")
    assert command.DONE == 0
