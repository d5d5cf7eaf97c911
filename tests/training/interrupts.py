"""A small training that is interrupted, and one that nobody disturbed."""

from collections.abc import Iterator
from functools import partial

import pytest

from samebench.runs.run import Run
from samebench.training import train
from tests.samebench import interrupted
from tiny import data
from tiny.settings import Settings

QUICK = Settings(data="tiny", epochs=2, batch_size=32, shards=2, network="conv")
KNOWN = data.synthetic(0, training=144, test=40)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load", lambda _: KNOWN)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda _: KNOWN)
        yield train.train(QUICK, runs=tmp_path_factory.mktemp("undisturbed"))


interrupt = partial(interrupted.interrupt, settings=QUICK)
