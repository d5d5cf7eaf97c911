"""The bench's promises for this project, on its synthetic data. The project is on the bench: see tests/conftest.py."""

from pathlib import Path

import pytest

from samebench import project
from samebench.runs.run import Run
from samebench.serving import onnx_export
from samebench.serving.artifact import Artifact
from samebench.training import train
from samebench.training.model import Model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run."""
    return train.train(project.settings_class()(epochs=2), runs=tmp_path_factory.mktemp("runs"))


def test_one_thread_gives_the_same_weights(run: Run, tmp_path: Path) -> None:
    """As several threads do."""
    repeated = train.train(run.read_settings(), runs=tmp_path, threads=1)
    assert repeated.receipt["weights_sha256"] == run.receipt["weights_sha256"]


def test_the_artifact_answers_as_the_training_does(run: Run) -> None:
    """The graph and torch agree, and the samples are right."""
    data, model = project.task().load_data("synthetic"), Model.of_run(run)
    onnx_export.export(run, project.budgets_class()(max_latency_ms_p99=1e9))
    artifact = Artifact.load(run.artifact)
    assert onnx_export.check(artifact, model, data.test(), model.predict_all(data.test())) < 1e-5
    assert artifact.check() > 0
