"""The command that makes a data set of images.

python -m samebench.tasks.image_classification.import_images --source photos --name shoes

The source is a folder with photos/<class>/<picture>, or a CSV with the columns path,label.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samebench import project
from samebench.core import command, files, flags, make_command
from samebench.core.command import UsageError
from samebench.data import dataset_files, source
from samebench.environment import determinism
from samebench.settings import setting_field, small_batch_args
from samebench.tasks.image_classification.image_sources import ALIKE, REFUSED, Finding, legible
from samebench.tasks.image_classification.image_transform import LEAST_SIDE, MOST_SIDE

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
FEW = 10  # steps an epoch at the defaults; with fewer, smaller ones learn more


@dataclass(frozen=True, kw_only=True)
class ImportArgs:
    """What to import, and what to call it."""

    source: str = setting_field("", "a folder with one sub-folder a class, or a .csv with the columns path,label")
    name: str = setting_field("", "what to call it: lower-case words joined by hyphens")
    side: int = setting_field(
        0, f"pixels a side, {LEAST_SIDE} to {MOST_SIDE}, of what a network sees; 0: the default of the project"
    )

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        if not self.source:
            raise UsageError("FROM=: give a folder with one sub-folder a class, or a .csv with the columns path,label")
        reserved = sorted(project.reserved_dataset_names())
        if not NAME.fullmatch(self.name) or self.name in reserved:
            words = f"lower-case words joined by hyphens, and not {' or '.join(reserved)}"
            raise UsageError(f"NAME={self.name}: give {words}, such as NAME=shoes")
        if self.side and not LEAST_SIDE <= self.side <= MOST_SIDE:
            raise UsageError(f"setting side={self.side} is impossible; take {LEAST_SIDE} to {MOST_SIDE}")


def main(argv: Sequence[str]) -> None:
    """Import the images that the flags name, and print what became of them."""
    program = "python -m samebench.tasks.image_classification.import_images"
    args = flags.parse(ImportArgs, argv, program=program, about="Make a data set out of pictures.")
    determinism.reexecute(fast=False)
    # torch is loaded here
    from samebench.tasks.image_classification import image_dataset, image_import, import_report  # noqa: PLC0415
    from samebench.tasks.image_classification.task import ImageClassification  # noqa: PLC0415

    task = project.task()
    if not isinstance(task, ImageClassification):
        raise UsageError(
            f"project {project.name()}: no image classification; put its data into data/NAME, then: make data-add"
        )
    determinism.pin()
    refused = source.LISTINGS / f"{args.name}.refused.csv"
    with dataset_files.scratch(args.name) as scratch:
        try:
            dataset, findings = image_import.import_images(Path(args.source), args.side or task.default_side, scratch)
        except UsageError as refusal:
            findings = [*getattr(refusal, "findings", []), Finding("", "", f"{refusal}", REFUSED)]
            files.write(refused, import_report.dumps(sorted(findings)))
            raise UsageError(f"{refusal}; see data/{refused.name}") from refusal
        report = import_report.dumps(findings)
        dataset_files.write(args.name, {image_dataset.FILE: scratch / image_dataset.FILE, image_dataset.REPORT: report})
    refused.unlink(missing_ok=True)
    print(f"data/{args.name}: {import_report.summary(dataset, findings)}; see data/{args.name}/{image_dataset.REPORT}")
    if dataset.preprocessing.warning:
        print(f"warning: {dataset.preprocessing.warning}")
    for each in findings:
        if each.found.startswith(ALIKE):
            print(f"warning: {legible(each.label)} is {each.found}; give them one name if they are one class")
    train = make_command.make("train", f"DATASET={args.name}")
    if (images := dataset.sizes["training"]) < FEW * project.settings_class()().batch_size:
        train += f" {small_batch_args(images)}"
    print(f"keep this version: make data-add DATASET={args.name}; train on it: {train}")


if __name__ == "__main__":
    command.run(main)
