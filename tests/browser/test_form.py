"""The page of projects that are no image classification, in a real browser."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests import node
from tests.commands import lacking
from tests.samebench import checkout
from tests.samebench.test_serving import letters, prices
from tests.serving.conftest import Server

__all__ = ["letters", "prices"]  # fixtures


def ask(server: Server, here: Path, *values: str) -> dict[str, Any]:
    """What the browser saw once it had filled in the form."""
    chromium = shutil.which("chromium") or lacking("no chromium here to look with")
    node.installed("playwright-core")
    words = ["node", str(node.HOME / "form.mjs"), f"http://127.0.0.1:{server.port}/", *values]
    done = checkout.run(words, cwd=here, variables={"CHROMIUM": chromium})
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert (seen.pop("console"), seen.pop("pictures")) == ([], 0)
    assert seen.pop("overflow") <= 0
    return seen


def test_a_table_is_asked_about_by_a_field_for_each_column(prices: Server, tmp_path: Path) -> None:
    seen = ask(prices, tmp_path, "3", "70.5")
    assert seen == {"labels": ["rooms", "area"], "verdict": "price: 73.5", "warnings": ["large"]}


def test_a_text_is_asked_about_as_it_is(letters: Server, tmp_path: Path) -> None:
    assert ask(letters, tmp_path, "ab") == {"labels": ["Text"], "verdict": "odd", "warnings": []}
