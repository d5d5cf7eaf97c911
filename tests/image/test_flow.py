"""`make flow` where there is an engine: drawn in the container that any command would get, of what the host tells."""

import json
from pathlib import Path

from tests.samebench.checkout import run

from .conftest import as_user, give


def test_the_workspace_of_this_checkout_is_up_to_date_and_the_picture_is_the_users(image: str, checkout: Path) -> None:
    give(checkout, uid=1234, gid=1234)
    words = [*as_user(1234), "make", "flow", "RUNTIME=docker", "JSON=1"]
    done = run(words, cwd=checkout, variables={"HOME": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    steps = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert (steps["workspace"]["state"], steps["workspace"]["why"]) == ("up to date", f"{image}, docker")
    assert steps["training run"]["command"] == "make train"
    assert (checkout / ".samebench/flow.md").stat().st_uid == 1234
