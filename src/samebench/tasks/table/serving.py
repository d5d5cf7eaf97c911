"""The server side of a table: a row as a JSON object in, the prediction out."""

from collections.abc import Mapping
from typing import Any

from samebench.core.text import is_line
from samebench.core.untrusted import parse_json
from samebench.serving.problem import Problem
from samebench.serving.samples import Arrays
from samebench.serving.serving import About, Example, Serving, Spec, TensorType, TensorTypes
from samebench.tasks.table.columns import LONGEST, Columns


class TableServing(Serving):
    """A missing number is the mean of the training rows, and is warned of; so is a value that no training row has."""

    media_types = ("application/json",)

    def decode(self, body: bytes, media_type: str, spec: Spec) -> Example:
        """The numbers and categories of a JSON object."""
        try:
            row = parse_json(body, where="the body")
            numbers, categories, warnings = Columns.from_dict(spec).read_row(row)
        except Exception as error:
            raise Problem(422, f"{error}".partition(";")[0]) from error
        return Example({"numbers": numbers, "categories": categories}, warnings)

    def encode(self, outputs: Arrays, example: Example, spec: Spec) -> dict[str, Any]:
        """The target's value."""
        return {spec["target"]: float(outputs["prediction"])}

    def answer_schema(self, spec: Spec) -> dict[str, Any]:
        """An object with the target."""
        return {"type": "object", "properties": {spec["target"]: {"type": "number"}}, "required": [spec["target"]]}

    def body_schema(self, spec: Spec) -> dict[str, Any]:
        """An object with a property for each column."""
        columns = Columns.from_dict(spec)
        numbers: dict[str, Any] = {name: {"type": "number"} for name in columns.numbers}
        return {"type": "object", "properties": numbers | {n: {"enum": list(v)} for n, v in columns.categories.items()}}

    def about(self, spec: Spec) -> About:
        """The page has a field for each column."""
        return About(title=f"What is the {spec['target']}?", form="table")

    def check_spec(self, spec: Spec) -> Mapping[str, Any]:
        """The columns and the target."""
        if not is_line(spec["target"], longest=LONGEST):
            raise ValueError("its target is no name")
        return {**Columns.from_dict(spec).to_dict(), "target": spec["target"]}

    def graph_types(self, spec: Spec) -> tuple[TensorTypes, TensorTypes]:
        """A number for each column of numbers, a place for each of categories, and a prediction."""
        columns = Columns.from_dict(spec)
        numbers, categories = len(columns.numbers), len(columns.categories)
        inputs = {"numbers": TensorType("float32", (numbers,)), "categories": TensorType("int64", (categories,))}
        return inputs, {"prediction": TensorType("float32", ())}
