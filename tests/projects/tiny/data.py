"""Ten blurred blots under noise, or a data set that was imported."""

from pathlib import Path

from samebench.data.source import Source
from samebench.tasks.image_classification import image_data, image_dataset
from samebench.tasks.image_classification.image_data import Data
from samebench.tasks.image_classification.image_transform import ImageTransform

LABELS = ("circle", "square", "triangle", "star", "cross", "ring", "arrow", "heart", "moon", "wave")
PLAIN = ImageTransform(28, 1)


def load(name: str) -> Data:
    """`synthetic`, an imported data set, or a directory with the file of one."""
    if name == "synthetic":
        return synthetic(0)
    if image_dataset.is_imported(name) or not Path(name).is_dir():
        return image_dataset.load(name)
    Source.of(name).read(image_dataset.FILE, max_bytes=1 << 25)
    return image_dataset.ImageDataset.load(Path(name, image_dataset.FILE)).to_data()


def synthetic(seed: int, *, training: int = 1200, test: int = 200) -> Data:
    """A learnable set, made and not stored."""
    return image_data.synthetic(LABELS, PLAIN, seed=seed, training=training, test=test)
