"""The tests in this folder have `sections` on the bench."""

import pytest

from samebench import project


@pytest.fixture(autouse=True)
def on_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "name", lambda: "sections")
