"""The budgets of a model: which figure keeps which, and the newest run that keeps those for the validation data."""

import math
import sys
from pathlib import Path

from samebench import project
from samebench.core.command import UsageError
from samebench.data.source import pick_default_run
from samebench.runs import metrics
from samebench.runs.run import Run
from samebench.serving.artifact import MODEL, Artifact
from samebench.settings import Budgets, MetricBudget, budget_override_args, metric_budgets


class BudgetExceededError(Exception):
    """A budget that a figure does not keep."""


def check_budget(budgets: Budgets, figure: float, name: str) -> None:
    """Raise BudgetExceededError, with the remedy, if the figure is over the budget `name`."""
    budget = getattr(budgets, name)
    if figure > budget:
        raise _budget_error(budgets, figure, name, f"over the budget {name}={budget:g}")


def check_metric(budgets: Budgets, budget: MetricBudget, figure: float) -> None:
    """Raise BudgetExceededError, with the remedy, if a metric does not keep its budget."""
    if not budget.allows(figure):
        side = "under" if budget.is_least else "over"
        raise _budget_error(budgets, figure, budget.name, f"{side} the budget {budget.name}={budget.value:g}")


def _budget_error(budgets: Budgets, figure: float, name: str, reason: str) -> BudgetExceededError:
    remedy = budget_override_args(budgets, name, figure, defaults=project.budgets_class()())
    return BudgetExceededError(f"{figure:.4g} is {reason}; train another network, or {remedy}")


def check_existing_artifact(run: Run, budgets: Budgets) -> None:
    """Raise BudgetExceededError if the artifact that is there misses a budget that needs no measurement."""
    folder = run.artifact
    figures = metrics.figures(run.receipt) | dict(Artifact.load(folder).facts["figures"])  # older ones have fewer
    for budget in metric_budgets(budgets):
        check_metric(budgets, budget, float(figures.get(budget.column, math.nan)))
    check_budget(budgets, (folder / MODEL).stat().st_size / 1e6, "max_model_megabytes")


def newest_within_budget(home: Path, budgets: Budgets, *, data: str = "") -> Run:
    """The newest run in `home` that is done on this data and keeps the budgets for the validation data.

    Raises UsageError if there is none.
    """
    done_runs = Run.list_done(home, data=data)
    missed = [_missed(run, budgets) for run in done_runs]
    good = [run for run, budget in zip(done_runs, missed, strict=True) if not budget]
    newest = ""
    if budget := missed[0]:
        figure_text = metrics.show(budget.column, done_runs[0].receipt)
        budget_text = metrics.show_value(budget.column, budget.value, done_runs[0].receipt)
        newest = f"{done_runs[0].directory}, has {budget.column.replace('_', ' ')} {figure_text}, {budget_text} asked"
    if not good:
        assert budget
        figure = metrics.figures(done_runs[0].receipt).get(budget.column, 0.0)
        remedy = budget_override_args(budgets, budget.name, figure, defaults=project.budgets_class()())
        raise UsageError(f"{home}: no run is good enough, the newest, {newest}; train another network, or {remedy}")
    chosen = good[pick_default_run([run.receipt for run in good])]
    if newest:
        print(f"the newest run, {newest}: taking {chosen.directory}", file=sys.stderr)
    return chosen


def _missed(run: Run, budgets: Budgets) -> MetricBudget | None:
    """The first budget for the validation data that a run does not keep."""
    figures = metrics.figures(run.receipt)
    limits = (budget for budget in metric_budgets(budgets) if budget.split == "validation")
    return next((limit for limit in limits if not limit.allows(figures.get(limit.column, math.nan))), None)
