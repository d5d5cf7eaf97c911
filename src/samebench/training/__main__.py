"""The command that trains.

python -m samebench.training --epochs 1 --seed 3
python -m samebench.training --resume latest

Flags are read before torch is loaded, so a refusal takes no seconds, and torch is loaded once, at the right CPU level.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from samebench import project
from samebench.core import command, flags
from samebench.environment import accelerator, determinism
from samebench.runs import metrics, records
from samebench.runs.run import RUNS, Run
from samebench.settings import TrainingSettings, TrainOptions


def parse_args(argv: Sequence[str]) -> tuple[TrainingSettings, TrainOptions, Run | None]:
    """The settings and the options in the flags, and the run to resume, if they name one.

    A flag that is not given has the value of that run, or of the network of the model to start from.
    """
    kinds = (project.settings_class(), TrainOptions)
    parse = partial(flags.parse_all, kinds, argv, program="python -m samebench.training", about="Train on a data set.")
    settings, options = parse()
    run = None
    if options.resume:
        run = Run.newest(RUNS) if options.resume == "latest" else Run.open(records.folder(options.resume))
        settings, options = parse(defaults=asdict(run.read_settings()))
    elif settings.init:
        from samebench.training import initial_models  # noqa: PLC0415

        settings, options = parse(defaults=initial_models.load(settings.init).architecture)
    return settings, options, run


def main(argv: Sequence[str]) -> int | None:
    """Train in as many processes as the environment says, and print where the run is."""
    settings, options, run = parse_args(argv)
    determinism.reexecute(fast=settings.fast)
    if accelerator.gpu_requested():
        accelerator.require()
    from samebench.training import launch, train  # noqa: PLC0415 - torch is loaded here
    from samebench.training.process_group import join_process_group  # noqa: PLC0415

    if (code := launch.torchrun("samebench.training", argv)) is not None:
        return code
    cuda = accelerator.gpu_requested() or settings.device == "cuda"
    with join_process_group(cuda=cuda, job=launch.job(os.environ)) as group:
        job_run, is_done = train.find_run_of_job(group, settings.epochs)
        run = job_run or run
        if not run or not is_done:
            run = train.train(settings, run=run, checkpoint_seconds=options.checkpoint_seconds, group=group)
        if group.is_rank_zero:
            name = metrics.of_receipt(run.receipt)[0].name
            print(f"{run.directory}: done, test {name} {metrics.show(f'test_{name}', run.receipt)}", flush=True)
    return None


if __name__ == "__main__":
    command.run(main)
