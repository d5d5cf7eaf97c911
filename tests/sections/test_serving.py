"""The bench's promises for a text classifier after its training: evaluate, compare, export, serve, reproduce."""

import json
import re
from dataclasses import replace

import pytest
import torch

from samebench import project
from samebench.core.command import UsageError
from samebench.runs.run import Run
from samebench.runs.significance import McNemarResult
from samebench.serving import onnx_export
from samebench.serving.application import Application
from samebench.serving.artifact import Artifact
from samebench.serving.upload import Content
from samebench.tasks.text_classification.serving import EMPTY
from samebench.training import comparison, run_evaluation, train
from samebench.training.model import Model
from sections import data
from sections.serving import SERVING
from sections.settings import Budgets, Settings

ANY = Budgets(min_validation_accuracy=0, max_latency_ms_p99=10_000)
QUICK = Settings(data="synthetic", epochs=2, batch_size=64, width=16)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs that differ in their learning rate, the second one exported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, "name", lambda: "sections")
        home = tmp_path_factory.mktemp("serving") / "runs"
        made = [train.train(replace(QUICK, lr=lr), runs=home) for lr in (0.01, 0.5)]
        onnx_export.export(made[1], ANY)
        return made


@pytest.fixture
def artifact(runs: list[Run]) -> Artifact:
    """That of the second run."""
    return Artifact.load(runs[1].artifact)


def test_the_artifact_answers_as_training_does(runs: list[Run], artifact: Artifact) -> None:
    test, model = data.load("synthetic").test(), Model.load(runs[1].weights)
    assert onnx_export.check(artifact, model, test, model.predict_all(test)) < 1e-5
    assert artifact.facts["project"] == "sections"
    assert artifact.check() == 10
    assert "accuracy on the test data" in (runs[1].artifact / "card.md").read_text()


def test_a_text_gets_its_section_and_one_without_words_a_warning(artifact: Artifact) -> None:
    application = Application(artifact)
    texts = [b"7 8 s3 9", b"", "\x1b[31m \ud800".encode(errors="surrogatepass")]
    answers = application.answers([Content(text, "text/plain") for text in texts], seen=False)
    assert answers[0]["category"] == "s3"
    assert [answer["warnings"] for answer in answers[:2]] == [[], [EMPTY]]
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    schema = SERVING.answer_schema(artifact.spec)
    assert set(schema["properties"]) < set(answers[0])
    json.dumps(answers, allow_nan=False)


def test_a_run_is_evaluated_and_compared(runs: list[Run]) -> None:
    output = run_evaluation.evaluate_run(runs[1])
    assert re.search(r": accuracy 100\.00%, loss 0\.\d+ on \d+ test examples\n", output)
    (result,) = comparison.compare_on_test(runs)
    assert isinstance(result.test, McNemarResult)
    assert result.test.n01 > 0


def test_a_run_of_this_project_is_refused_by_another(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "name", lambda: "tiny")
    remedy = "of the project sections, not of tiny; give PROJECT=sections"
    with pytest.raises(UsageError, match=f"{runs[1].name}: {remedy}"):
        Run.open(runs[1].directory)
    with pytest.raises(UsageError, match="of the project 'sections', not of tiny; give PROJECT="):
        Artifact.load(runs[1].artifact)
    with pytest.raises(UsageError, match="of the project sections, not of tiny"):
        Model.load(runs[1].weights)


def test_what_was_left_out_of_a_training_text_changes_no_figure(artifact: Artifact) -> None:
    example = SERVING.decode(b"s1 2 3", "text/plain", artifact.spec)
    outputs = artifact.predict_examples([example.inputs, example.inputs])
    assert torch.equal(*(torch.from_numpy(each["probabilities"]) for each in outputs))
