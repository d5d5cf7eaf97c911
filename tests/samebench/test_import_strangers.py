"""Imports of what strangers have named: nothing outside of the folder is read, listed or written."""

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.commands import environment

from .imports import WHOLE, copy, pictures
from .pictures import CLASSES

__all__ = ["copy", "pictures"]  # fixtures

CASES = 10_000
# Python tells this hook of each file that it opens, lists, makes, renames or removes.
WATCH = """
import os, sys
from pathlib import Path
from samebench import project
from samebench.data import source
from samebench.tasks.image_classification import image_import, import_images
from samebench.core.command import UsageError

project.task()  # loads torch and all else
folder, data, temporary = (os.path.realpath(each) for each in sys.argv[2:5])
source.LISTINGS = Path(data)
EVENTS = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link"}
OURS = [folder, data, temporary, sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev/null", "/usr/lib", sys.path[1]]
OURS += [os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)]
OURS += [os.path.join(os.path.dirname(sys.path[1]), "pyproject.toml")]  # it names the project
active = False

def hook(event, arguments):
    if active and event in EVENTS and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.fsdecode(arguments[0])
        if event in {"os.remove", "os.rmdir"} and arguments[1] >= 0:  # below an open folder
            path = os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), path)
        path = os.path.realpath(path)
        if not any(path == each or path.startswith(each.rstrip("/") + "/") for each in OURS):
            os.write(2, f"outside: {event} {path!r}\\n".encode())

sys.addaudithook(hook)
active = True
try:
    import_images.main(["--source", sys.argv[1], "--name", "shapes"])
except UsageError as refusal:
    print("refused:", refusal)
"""


def watched(source: Path, home: Path) -> str:
    """What an import says that touches nothing outside of `home/photos` and `home/data`."""
    (home / "temporary").mkdir()
    before = {path: path.lstat().st_mtime_ns for path in home.rglob("*")}
    places = [str(home / name) for name in ("photos", "data", "temporary")]
    words = [sys.executable, "-c", WATCH, str(source), *places]
    variables = environment({"TORCHINDUCTOR_CACHE_DIR": places[-1]})  # which torch makes
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path: path.lstat().st_mtime_ns for path in before if path.name != "temporary"}.items() <= before.items()
    assert {each.name for each in home.iterdir()} == {"photos", "outside", "data", "temporary"}
    assert {each.name for each in (home / "data").iterdir()} == {"shapes", "shapes.sha256"}
    assert done.stdout.replace("\n", "").isprintable()
    report = (home / "data/shapes/report.csv").read_text(encoding="utf-8")
    assert report.replace("\n", "").isprintable()
    return done.stdout


def names(rng: random.Random, outside: Path) -> list[str]:
    """Paths as somebody with bad intentions, or another system, writes them."""
    parts = ["..", ".", "", "circle", "00000.png", "out", "outer", "loop", "~", "~root", "C:", "%2e%2e", "\uff0e\uff0e"]
    parts += ["..\\..", "secret.png", "/", str(outside), "etc", "passwd", "nul", "con", "a" * 300, "\x1b[2J", "\u202e"]
    parts += [
        "CIRCLE",
        "e\u0301",
        "\u00e9",
        "*",
        "?",
        "$HOME",
        "`id`",
        "=1+1",
        "\ud7ff",
        "\uffff",
        "$(id)",
        "-rf",
        "\0",
    ]
    joints = ["/", "/", "/", "\\", "//", "/./", "\uff0f"]
    return [
        "".join(rng.choice(parts) + rng.choice(joints) for _ in range(rng.randrange(1, 7))) + rng.choice(parts)
        for _ in range(CASES)
    ]


def strange(copy: Path) -> Path:
    """A folder outside, and links to it in the folder of pictures."""
    outside = copy.parent / "outside"
    (outside / "circle").mkdir(parents=True)
    for place in ("secret.png", "circle/00000.png"):
        (outside / place).write_bytes(WHOLE["PNG"])
    (copy / "out").symlink_to(outside)
    (copy / "outer").symlink_to("../outside/circle")
    (copy / "loop").symlink_to("loop")
    return outside


def test_no_path_of_10000_in_a_table_leads_to_anything_outside(copy: Path, tmp_path: Path) -> None:
    outside = strange(copy)
    rows = [f"{path.relative_to(copy)},{path.parent.name}" for path in copy.glob("*/*") if path.parent.name in CLASSES]
    rows += [f'"{name}",circle' for name in names(random.Random(0), outside)]
    (copy / "all.csv").write_text("\n".join(["path,label", *rows, ""]), encoding="utf-8")
    assert watched(copy / "all.csv", tmp_path).startswith("data/shapes: 60 colour images"), "and no secret"


def test_no_name_of_a_folder_leads_to_anything_outside_but_what_a_link_of_the_user_names(
    copy: Path, tmp_path: Path
) -> None:
    outside = strange(copy)
    for name in ("out", "outer"):
        (copy / name).unlink()
    for name in dict.fromkeys(each.replace("/", "_")[:60] for each in names(random.Random(1), outside)[:500]):
        if name.isprintable() and name.strip(" ._") and not os.path.lexists(copy / name.strip()):
            (copy / name.strip()).mkdir()
            (copy / name.strip() / "up.png").symlink_to(outside / "secret.png")
    assert watched(copy, tmp_path).startswith("data/shapes: 60 colour images"), "and no secret"
