"""Steps and their picture: what follows from what, what the host tells, and that anybody can read it."""

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from samebench.core import files
from samebench.core.command import UsageError
from samebench.environment import fingerprint
from samebench.runs import chart, flow_steps
from samebench.runs.flow_steps import MISSING, STALE, UNKNOWN, UP, Host, Step

from .checkout import ROOT, run
from .fakes import SCRIPT, checkout, fake_engines, programs, write_program

__all__ = ["checkout", "programs"]  # fixtures

SVG = "{http://www.w3.org/2000/svg}"
PICTURE = ROOT / "docs/pictures/flow.svg"
STEPS = [
    Step("ore", UP, "12 t", "make ore"),
    Step("iron", STALE, "changed: the <furnace> & its door", 'make iron ARGS="--hot 1"', ("ore",)),
    Step("nails", UP, "all there", "make nails", ("iron",)),
    Step("house", UP, "stands", "make house", ("nails", "ore")),
    Step("paint", MISSING, "none yet", "make paint"),
    Step("key", UNKNOWN, "no engine", "make key", ("paint",)),
]


def drawn(steps: list[Step]) -> str:
    return chart.draw([step.to_dict() for step in steps], title="A <house>")


def parsed(steps: list[Step]) -> ET.Element:
    return ET.fromstring(drawn(steps))  # noqa: S314 - our own


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


def test_each_box_says_name_state_reason_and_command() -> None:
    root = parsed(flow_steps.propagate_stale(STEPS))
    boxes = [[text.text or "" for text in box.iter(f"{SVG}text")] for box in root.iter(f"{SVG}g")]
    assert boxes == [[step.name, step.state, step.why, step.command] for step in flow_steps.propagate_stale(STEPS)]


def test_states_differ_by_mark_and_frame_and_not_by_colour_alone() -> None:
    root = parsed(STEPS)
    looks = {
        box.get("class"): (box.findall(f"{SVG}path")[0].get("d"), box.findall(f"{SVG}rect")[0].get("style"))
        for box in root.iter(f"{SVG}g")
    }
    assert set(looks) == {"up", "stale", "missing", "unknown"}
    assert len(set(looks.values())) == len({mark for mark, _ in looks.values()}) == 4
    assert len({frame for _, frame in looks.values()}) == 4


def test_a_screen_reader_gets_title_and_all_steps_in_words() -> None:
    root = parsed(STEPS)
    assert root.get("role") == "img"
    named = {each.get("id", ""): each.text or "" for each in root if each.get("id")}
    assert root.get("aria-labelledby") == " ".join(named)
    assert named["title"] == "A <house>"
    assert all(f"{step.name}: {step.state}, {step.why}" in named["desc"] for step in STEPS)


def test_it_runs_and_fetches_nothing_and_is_read_on_light_and_dark() -> None:
    text = drawn(STEPS)
    assert not re.search(r"<script|<image|<use|@import|url\(|href|http(?!://www\.w3\.org/2000/svg)", text)
    assert "@media (prefers-color-scheme: dark)" in text
    for scheme in range(2):
        ground = chart.COLOURS["ground"][scheme]
        box = chart.COLOURS["box"][scheme]
        for name in ("ink", "soft", "up", "stale", "missing", "unknown"):
            assert min(contrast(chart.COLOURS[name][scheme], each) for each in (ground, box)) >= 4.5, name


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it; 4.5 is what it asks for text."""

    def light(colour: str) -> float:
        shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_boxes_stay_in_the_picture_and_apart_and_long_texts_in_their_boxes() -> None:
    wide = [Step(f"step {place}", UP, "why " * 100, "make it " * 100) for place in range(4)]
    root = parsed([*STEPS, *wide])
    places = []
    for box in root.iter(f"{SVG}g"):
        left, top = map(float, re.findall(r"[\d.]+", box.get("transform") or ""))
        width = float(box.findall(f"{SVG}rect")[0].get("width") or 0)
        assert left >= 0
        assert left + width <= chart.WIDTH
        assert all(len(text.text or "") * 6 < width for text in box.iter(f"{SVG}text"))
        places.append((top, left, left + width))
    rows = sorted(places)
    assert all(a[0] < b[0] or a[2] < b[1] for a, b in pairwise(rows))


def test_a_picture_carries_its_steps_and_is_drawn_anew_from_them(tmp_path: Path) -> None:
    path = tmp_path / "flow.svg"
    path.write_text(drawn(STEPS))
    title, steps = chart.read_embedded(path)
    assert title == "A <house>"
    assert [Step.from_dict(step) for step in steps] == STEPS
    before = path.read_text()
    flow_steps.main([str(path)])
    assert path.read_text() == before


@pytest.mark.parametrize(
    "content", ["", "<svg/>", "<svg xmlns='http://www.w3.org/2000/svg'><metadata>1</metadata></svg>"]
)
def test_another_picture_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.svg").write_text(content)
    with pytest.raises(UsageError, match="no picture of ours"):
        chart.read_embedded(tmp_path / "other.svg")


def test_the_picture_in_the_readme_is_what_is_drawn_today() -> None:
    title, steps = chart.read_embedded(PICTURE)
    remedy = "python -m samebench.runs.flow_steps docs/pictures/flow.svg"
    assert PICTURE.read_text() == chart.draw(steps, title=title), remedy
    assert {step["state"] for step in steps} == {UP, STALE, MISSING}


def test_for_machines_it_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow_steps.show(STEPS, title="", as_json=True, to=tmp_path / "new/flow.svg")
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
    path = tmp_path / "flow.svg"
    flow_steps.show(
        [Step("run", MISSING, "runs/x is \x1b[2Jdone\nnot", "make train")], title="Runs", as_json=False, to=path
    )
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "run  missing  runs/x is �[2Jdone not  make train"
    assert chart.read_embedded(path)[1][0]["why"] == "runs/x is �[2Jdone not"
