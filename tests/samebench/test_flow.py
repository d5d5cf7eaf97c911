"""Steps and their picture: what follows from what, what the host tells, and that anybody can read it."""

import json
import re
import sys
from pathlib import Path

import pytest

from samebench.core import files
from samebench.core.text import printable
from samebench.environment import fingerprint
from samebench.runs import flow_steps
from samebench.runs.flow_steps import MISSING, STALE, UNKNOWN, UP, Host, Step

from .checkout import ROOT, run
from .fakes import SCRIPT, checkout, fake_engines, programs, write_program

__all__ = ["checkout", "programs"]  # fixtures

STEPS = [
    Step("ore", UP, "12 t", "make ore"),
    Step("iron", STALE, "changed: the <furnace> & its door", 'make iron ARGS="--hot 1"', ("ore",)),
    Step("nails", UP, "all there", "make nails", ("iron",)),
    Step("house", UP, "stands", "make house", ("nails", "ore")),
    Step("paint", MISSING, "none yet", "make paint"),
    Step("key", UNKNOWN, "no engine", "make key", ("paint",)),
]


# ---- steps ----


def test_what_is_made_from_something_stale_is_stale_however_far_and_nothing_else_is() -> None:
    found = {step.name: step for step in flow_steps.propagate_stale(STEPS)}
    assert [step.state for step in found.values()] == [UP, STALE, STALE, STALE, MISSING, UNKNOWN]
    assert (found["nails"].why, found["house"].why) == ("follows from the iron", "follows from the nails")
    assert found["iron"].why == STEPS[1].why, "its own reason stays"


def test_only_what_is_up_to_date_needs_no_command() -> None:
    assert [step.command == "" for step in flow_steps.propagate_stale(STEPS)] == [
        True,
        False,
        False,
        False,
        False,
        False,
    ]


def test_a_step_before_what_it_is_made_from_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="comes after"):
        flow_steps.propagate_stale(STEPS[1:])


def test_a_table_has_a_line_a_step_in_columns() -> None:
    lines = flow_steps.table(flow_steps.propagate_stale(STEPS)).splitlines()
    assert lines[0] == "ore    up to date  12 t"
    assert lines[1] == 'iron   stale       changed: the <furnace> & its door  make iron ARGS="--hot 1"'
    assert len(lines) == len(STEPS)


def test_few_names_one_and_counts_the_others() -> None:
    assert [flow_steps.abbreviate(names) for names in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a and 2 more"]


# ---- what the host knows ----


def told(checkout: Path, programs: Path, **variables: str) -> Host:
    """What the host says of itself, where nothing is set up yet."""
    (checkout / "src/told.py").write_text("import sys\nprint(sys.stdin.read(), end='')\n")
    words = [*SCRIPT, "--flow", "told"]
    done = run(words, cwd=checkout, path=programs, variables={"CA_CERT": "", "SSL_CERT_FILE": "", **variables})
    assert (done.returncode, done.stderr) == (0, "")
    return Host.read(done.stdout)


def test_the_host_tells_runtime_names_and_images(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="case $1 in info) echo 1 ;; images) echo shoes:1 sha256:12 ;; *) exit 1 ;; esac")
    host = told(checkout, programs, BASE_IMAGE="mine:1")
    assert (host.runtime, host.flavour, host.base, dict(host.images)) == (
        "docker",
        "cpu",
        "mine:1",
        {"shoes:1": "sha256:12"},
    )
    assert re.fullmatch(r"samebench:cpu-[0-9a-f]{12}", host.image)
    assert host.image != told(checkout, programs).image, "another base is another image"
    assert host.stamp.endswith(f" {checkout}")
    write_program(programs / "docker", "exit 1")
    assert told(checkout, programs).runtime == "local"
    assert told(checkout, programs, SAMEBENCH="1", PYTHONPATH="src").runtime == "here"


def test_where_there_is_nothing_to_draw_with_it_says_so(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="exit 1")
    text = (checkout / "pyproject.toml").read_text()
    (checkout / "pyproject.toml").write_text(text.replace("==3.11.*", "==3.99.*"))
    done = run([*SCRIPT, "--flow", "told"], cwd=checkout, path=programs)
    assert done.returncode == 3
    said = "make flow: nothing is set up yet that could draw, and there is no Python 3.99; make build"
    assert done.stderr == f"samebench: {said}\n"


@pytest.mark.parametrize(
    ("images", "state", "why"),
    [
        ({"samebench:cpu-1": "12"}, UP, "samebench:cpu-1, docker"),
        ({"samebench:cpu": "12"}, STALE, "changed: the base image, or what sets it up"),
        ({"samebench:gpu": "12"}, MISSING, "no cpu image yet, docker"),
    ],
)
def test_the_image_of_the_workspace(images: dict[str, str], state: str, why: str, tmp_path: Path) -> None:
    step = flow_steps.workspace(Host(runtime="docker", image="samebench:cpu-1", images=images))
    assert (step.state, step.why, step.command) == (state, why, "make build")
    assert flow_steps.workspace(Host(runtime="docker", flavour="gpu", image="x")).command == "make build GPU=1"


def test_the_local_environment_goes_by_its_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_steps, "ROOT", tmp_path)
    host = Host(stamp="abc /here")
    found = [flow_steps.workspace(host)]
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").touch()
    for stamp in (None, "abd /here", "abc /there", "abc /here"):
        if stamp:
            (tmp_path / ".venv/samebench.stamp").write_text(f"{stamp}\n")
        found.append(flow_steps.workspace(host))
    assert [(step.state, step.why) for step in found] == [
        (MISSING, "no .venv yet"),
        (STALE, ".venv is of other locks, or unfinished"),
        (STALE, ".venv is of other locks, or unfinished"),
        (STALE, ".venv is of another checkout"),
        (UP, ".venv, from these locks"),
    ]
    assert {step.command for step in found} == {"make shell"}


def test_in_the_image_its_own_fingerprint_tells_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.lock").write_text("one")
    baked = {"same": {"input": {"requirements.lock": files.digest(tmp_path / "requirements.lock")}}}
    monkeypatch.setattr(flow_steps, "ROOT", tmp_path)
    monkeypatch.setattr(fingerprint, "IMAGE", sys.prefix)
    monkeypatch.setattr(fingerprint, "image_fingerprint", lambda: baked)
    assert flow_steps.workspace(Host(runtime="here")).state == UP
    (tmp_path / "requirements.lock").write_text("two")
    step = flow_steps.workspace(Host(runtime="here"))
    assert (step.state, step.why) == (STALE, "changed: requirements.lock")
    assert step.command == "make build, outside"
    assert flow_steps.no_engine(Host(runtime="here")) == ("no engine in here", "make flow, outside")


# ---- the picture ----


def test_each_box_says_name_state_reason_and_command_and_each_arrow_what_it_is_made_from() -> None:
    lines = flow_steps.mermaid(STEPS).splitlines()
    boxes = [line for line in lines if "[" in line]
    assert boxes[0] == '  s0["ore: up to date<br>12 t<br>make ore"]:::c0'
    assert len(boxes) == len(STEPS)
    assert [line.strip() for line in lines if "-->" in line] == [
        "s0 --> s1", "s1 --> s2", "s2 --> s3", "s0 --> s3", "s4 --> s5",
    ]  # fmt: skip


def test_states_differ_by_their_frame_and_not_by_colour_alone() -> None:
    assert len({re.sub("stroke:#[0-9a-f]{6}", "", style) for style in flow_steps.STYLES.values()}) == 4


@pytest.mark.project("apparel")
def test_the_picture_in_the_documentation_is_what_is_drawn_today() -> None:
    after = "follows from the training run"
    steps = [
        Step("data", UP, "fashion-mnist: 4 files, by their hashes"),
        Step("workspace", UP, "samebench:cpu-8587f17c4c1c, docker"),
        Step("training run", STALE, "changed: src/apparel/networks.py", "make train", ("data", "workspace")),
        Step("evaluation", STALE, after, "make evaluate", ("training run",)),
        Step("artifact", STALE, after, "make export", ("training run",)),
        Step("server image", STALE, "follows from the artifact", "make serve", ("artifact",)),
        Step("bundle", MISSING, "no dist/apparel-0.1.0-amd64 yet", "make ship KEY=~/samebench.key", ("server image",)),
    ]
    assert flow_steps.mermaid(steps) in (ROOT / "docs/flow.md").read_text()


def test_for_machines_it_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow_steps.show(STEPS, as_json=True, to=tmp_path / "new/flow.md")
    document = json.loads(capsys.readouterr().out)
    assert document["steps"][1] == {
        "name": "iron",
        "state": "stale",
        "why": "changed: the <furnace> & its door",
        "command": 'make iron ARGS="--hot 1"',
        "from": ["ore"],
    }
    assert Path(document["picture"]).is_file()


def test_nothing_that_a_receipt_says_steers_a_terminal_or_breaks_the_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flow.md"
    why = 'runs/x is \x1b[2Jdone\n```\n"]; <b onclick="x()">&#34; click s0 %%{init}%%'
    flow_steps.show([Step("run", MISSING, why, "make train")], as_json=False, to=path)
    said = capsys.readouterr().out
    assert said.startswith("run  missing  runs/x is �[2Jdone ``` ")
    (box,) = [line for line in path.read_text().splitlines() if "s0[" in line]
    text = re.sub(r"#(\d+);", lambda entity: chr(int(entity[1])), box)
    assert text == f'  s0["run: missing<br>{printable(why)}<br>make train"]:::c2'
    assert re.fullmatch(r'  s0\["[\w .:=/#;-]+<br>[\w .:=/#;-]+<br>make train"\]:::c2', box)
