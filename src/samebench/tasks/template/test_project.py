"""The bench's promises for this project, on its synthetic data."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from samebench import project
from samebench.runs.run import Run
from samebench.serving import export
from samebench.serving.artifact import Artifact
from samebench.training import train
from samebench.training.model import Model

NAME = Path(__file__).parent.name


@pytest.fixture(scope="module", autouse=True)
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A short run; the project is on the bench."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, "name", lambda: NAME)
        yield train.train(project.settings_class()(epochs=2), runs=tmp_path_factory.mktemp(NAME))


def test_the_same_again_gives_the_same_weights(run: Run, tmp_path: Path) -> None:
    """One thread computes what several did."""
    again = train.train(run.settings(), runs=tmp_path, threads=1)
    assert again.receipt["weights_sha256"] == run.receipt["weights_sha256"]


def test_the_artifact_answers_as_the_training_does(run: Run) -> None:
    """The graph and torch agree, and the samples are right."""
    data, model = project.task().load_data("synthetic"), Model.of_run(run)
    budgets = {each.name: 1e9 if each.name.startswith("max_") else 0 for each in fields(project.budgets_class())}
    export.export(run, project.budgets_class()(**budgets))
    artifact = Artifact.load(run.artifact)
    assert export.check(artifact, model, data.test(), model.predict_all(data.test())) < 1e-5
    assert artifact.check() > 0
