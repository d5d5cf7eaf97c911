"""An import of pictures against a plain loop of Pillow over the same ones: pictures a second, and memory."""  # noqa: N999

import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks._child import Usage, measure
from samebench.core import command, flags
from samebench.core.command import UsageError
from samebench.environment import determinism

OURS = """
import sys
from pathlib import Path
from samebench.tasks.image_classification.image_import import import_images

import_images(Path(sys.argv[1]), int(sys.argv[3]), Path(sys.argv[2]))
"""
PLAIN = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image

side = int(sys.argv[3])
images = []
for path in sorted(Path(sys.argv[1]).glob("*/*")):
    with Image.open(path) as picture:
        images.append(np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BOX)))
np.save(Path(sys.argv[2]) / "images", np.stack(images))
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure."""

    pictures: int = field(default=2000, metadata={"help": "pictures, JPEG of 640x480 pixels"})
    side: int = field(default=64, metadata={"help": "pixels a side of the images that are made"})
    times: int = field(default=3, metadata={"help": "imports, and as many plain loops in turn"})

    def __post_init__(self) -> None:
        """Refuse what can't be imported."""
        if self.pictures < 100 or self.times < 1:
            raise UsageError(f"--pictures {self.pictures} --times {self.times}: give 100 and 1, or more")


def make_pictures(folder: Path, count: int) -> None:
    """Pictures of two classes, each another one."""
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        path = folder / f"class {number % 2}/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=85)


def main(argv: Sequence[str]) -> None:
    """Measure in turn, and print."""
    plan = flags.parse(Plan, argv, program="python -m benchmarks.import", about=(__doc__ or "").split("\n")[0])
    results: dict[str, list[Usage]] = {"import": [], "plain loop": []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "photos")
        make_pictures(source, plan.pictures)
        for _ in range(plan.times):
            for name, program in zip(results, (OURS, PLAIN), strict=True):
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    results[name].append(measure(["-c", program, str(source), scratch, str(plan.side)]))
    where = f"{determinism.chip()}, load {os.getloadavg()[0]:.1f}"
    print(f"{plan.pictures:,} JPEG of 640x480 to {plan.side}x{plan.side}, n = {plan.times}, {where}")
    for name, measured in results.items():
        seconds, _, memory = (statistics.median(each) for each in zip(*measured, strict=True))
        print(f"{name:10}  {plan.pictures / seconds:6.0f} pictures/s  {memory:6.0f} MB")
    ratios = [plain.wall / ours.wall for ours, plain in zip(*results.values(), strict=True)]
    print(f"import / plain loop  {statistics.median(ratios):.2f} of its speed, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    command.run(main)
