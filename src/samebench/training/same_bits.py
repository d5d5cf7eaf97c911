"""On which machines a training gives the same bits: the `same_bits` of its receipt."""

import copy
import sys

from samebench.training import operators
from samebench.training.loop import Training


def record(training: Training) -> None:
    """Write the promise into the receipt, and print what weakens it."""
    fast, run = training.settings.fast, training.run
    promise = strongest = operators.strongest(training.device, fast=fast)
    if not fast:
        findings = examine_step(training)
        promise = findings.weaken(strongest)
        if promise != strongest:
            print(f"warning: same bits: {promise}; {findings}", file=sys.stderr, flush=True)
    run.record(same_bits=operators.weaker(promise, run.receipt.get("same_bits", promise)))


def examine_step(training: Training) -> operators.Findings:
    """The operators of the next step: a copy of the network takes it, on the examples of one shard."""
    network = copy.deepcopy(training.model.network).train()
    optimizer = training.task.build_optimizer(network, training.settings)
    indices = training.batches()[0].chunk(training.settings.shards)[0]

    def step() -> None:
        value, weight = training.loss(network, indices)
        (value / weight).backward()  # type: ignore[no-untyped-call]
        training.update(network, optimizer)

    return operators.examine(step, network)
