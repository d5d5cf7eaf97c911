"""The model card: what people who are handed an artifact should know, written from its run and its evaluation."""

from typing import Any

from samebench.core.text import code
from samebench.runs import metrics
from samebench.serving.artifact import MODEL, SEAL, Artifact
from samebench.settings import Budgets
from samebench.training.task import CardText

# What `export` promises, in the words of the card.
AGREEMENT = 1e-5  # how far an output of onnxruntime may be from torch's
LATENCIES = 1000  # single examples timed


def card(
    artifact: Artifact, receipt: dict[str, Any], text: CardText, table: str, megabytes: float, budgets: Budgets
) -> str:
    """The model card: what it is for, what it was trained on, what it can, what it can't, and how to check it.

    The same run gives the same card, so it has what was promised of a machine's speed, and not what one machine took.
    """
    facts, settings = artifact.facts, receipt["settings"]
    rows = [
        (f"{metric.name} on the {split} data", metrics.show_value(column, facts["figures"][column], receipt))
        for metric in metrics.of_receipt(receipt)
        for split in metrics.SPLITS
        for column in [f"{split}_{metric.name}"]
    ]
    rows[0] = (f"{rows[0][0]}, by which runs are chosen", rows[0][1])
    rows += [
        *text.figures,
        (f"size of `{MODEL}`", f"{megabytes:.2f} MB"),
        (
            f"an example alone, p99 of {LATENCIES:,} on the machine that exported it",
            f"at most {budgets.max_latency_ms_p99:g} ms",
        ),
        (
            "onnxruntime against torch on the test data",
            f"right about the same examples, outputs within {AGREEMENT:.0e}",
        ),
    ]
    lines = "\n".join(f"| {name} | {figure} |" for name, figure in rows)
    limits = "\n".join(f"- {limit}." for limit in text.limits)
    return f"""# {text.title}, run {facts["run"]}

{text.purpose}

## What it was trained on
The data set `{code(settings["data"])}`, version `{facts["data_version"][:12]}`{text.source}.
{_architecture(receipt)}{settings["epochs"]} epochs, seed {settings["seed"]}; code `{commit(receipt)}`.
{origin(receipt)}All else is in the run's receipt.

## What it can
| figure | value |
|---|---|
{lines}
{
        f'''
```
{table}
```
'''
        if table
        else ""
    }{
        f'''
## What it can't
{limits}
'''
        if limits
        else ""
    }
## How to check it
{text.interface}
Check it before it is loaded: `sha256sum --check {SEAL}`.

- model: {artifact.sha256}
- weights: {facts["weights_sha256"]}
- data: {facts["data_version"]}
"""


def _architecture(receipt: dict[str, Any]) -> str:
    """The settings that say which network it is."""
    settings = receipt.get("model", {}).get("settings", {})
    return "".join(f"{name.capitalize()} `{code(value)}`, " for name, value in settings.items())


def origin(receipt: dict[str, Any]) -> str:
    """What a card tells of the model that the training started from, if it did."""
    if not (init := receipt.get("init")):
        return ""
    return f"Started from the weights `{init['weights_sha256'][:12]}`, with the mean and deviation of their data.\n"


def commit(receipt: dict[str, Any]) -> str:
    """What a card calls the code that trained."""
    facts = receipt.get("code", {})
    return f"{code(facts.get('commit'))[:12]}{' and changes to it' if facts.get('dirty') else ''}"
