"""The server of projects that are no image classification: a table and a text, each in a few lines."""

# ruff: noqa: ARG002 - a project's method need not look at all that it is given

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from samebench import project
from samebench.core.command import UsageError
from samebench.serving import samples
from samebench.serving.artifact import FACTS, MODEL, SAMPLES_SHA256, Artifact
from samebench.serving.page import page
from samebench.serving.problem import Problem
from samebench.serving.samples import Arrays, Sample, dump_samples, read_sample
from samebench.serving.serving import About, Example, Serving, Spec, TensorType, TensorTypes
from tests.serving.conftest import Server, form
from tests.serving.test_limits import running

JSON, TEXT = {"content-type": "application/json"}, {"content-type": "text/plain; charset=utf-8"}
ORIGIN = {"project": "tiny", "run": "r", "weights_sha256": "0" * 64, "data_version": "0" * 64, "locks": {}}


class Prices(Serving):
    """The sum of some columns."""

    media_types = ("application/json",)

    def decode(self, body: bytes, media_type: str, spec: Spec) -> Example:
        try:
            row = json.loads(body)
            values = np.array([row[name] for name in spec["columns"]], np.float32)
        except (ValueError, LookupError, TypeError) as error:
            raise Problem(422, f"no row with the numbers {', '.join(spec['columns'])}") from error
        return Example({"row": values}, ["large"] if values.max() > 9 else [])

    def encode(self, outputs: Arrays, example: Example, spec: Spec) -> dict[str, Any]:
        return {"price": float(outputs["sum"])}

    def answer_schema(self, spec: Spec) -> dict[str, Any]:
        return {"properties": {"price": {"type": "number"}}, "required": ["price"], "additionalProperties": False}

    def body_schema(self, spec: Spec) -> dict[str, Any]:
        return {"type": "object", "properties": {name: {"type": "number"} for name in spec["columns"]}}

    def about(self, spec: Spec) -> About:
        return About(name="Prices", title="What is <it> worth?", form="table")

    def graph_types(self, spec: Spec) -> tuple[TensorTypes, TensorTypes]:
        row = {"row": TensorType("float32", (len(spec["columns"]),))}
        return row, {"sum": TensorType("float32", ())}


class Letters(Serving):
    """The sum of a text's bytes, which are of any number."""

    media_types = ("text/plain",)

    def decode(self, body: bytes, media_type: str, spec: Spec) -> Example:
        return Example({"row": np.frombuffer(body, np.uint8).astype(np.float32)})

    def encode(self, outputs: Arrays, example: Example, spec: Spec) -> dict[str, Any]:
        return {"category": "even" if outputs["sum"] % 2 == 0 else "odd"}

    def answer_schema(self, spec: Spec) -> dict[str, Any]:
        return {"properties": {"category": {"type": "string"}}}

    def classes(self, spec: Spec) -> tuple[str, ...]:
        return ("even", "odd")


def make_artifact(serving: Serving, spec: Spec, width: int | str, chosen: list[Sample], **facts: Any) -> Artifact:
    """A graph that sums rows of `width` numbers, or of any number."""
    rows = helper.make_tensor_value_info("row", TensorProto.FLOAT, ["count", width])
    sums = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["count"])
    node = helper.make_node("ReduceSum", ["row", "axes"], ["sum"], keepdims=0)
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    graph = helper.make_graph([node], "sum", [rows], [sums], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = dump_samples(chosen)
    metadata = {**ORIGIN, SAMPLES_SHA256: hashlib.sha256(content).hexdigest(), "spec": spec, **facts}
    helper.set_model_props(model, {FACTS: json.dumps(metadata)})
    assert isinstance(model, onnx.ModelProto)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, "serving", lambda: serving)
        return Artifact.of(model.SerializeToString(), content, Path(MODEL))


def make_sample(*row: float) -> Sample:
    values = np.array(row, np.float32)
    return Sample("some", {"row": values}, {"sum": values.sum()[()]})


@pytest.fixture(scope="module")
def prices() -> Iterator[Server]:
    artifact = make_artifact(Prices(), {"columns": ["rooms", "area"]}, 2, [make_sample(1, 2)])
    with running(artifact) as server:
        yield server


@pytest.fixture(scope="module")
def letters() -> Iterator[Server]:
    with running(make_artifact(Letters(), {}, "length", [make_sample(1), make_sample(1, 2)])) as server:
        yield server


def test_a_row_is_answered_as_the_document_says(prices: Server) -> None:
    document = prices.ask("GET", "/openapi.json").json()
    assert document["info"]["title"] == "Prices"
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"rooms", "area"}
    answer = prices.predict(b'{"rooms": 3, "area": 70.5}', JSON, query="?seen").json()
    assert answer == {"price": 73.5, "warnings": ["large"]}
    schema = {"$ref": "#/components/schemas/Answer", "components": document["components"]}
    jsonschema.validate(answer, schema)


def test_a_body_that_is_no_row_is_a_problem(prices: Server) -> None:
    reply = prices.predict(b'{"rooms": 3}', JSON)
    assert (reply.status, reply.json()["detail"]) == (422, "no row with the numbers rooms, area")
    assert prices.predict(b"rooms=3", TEXT).status == 415
    content, headers = form(b'{"rooms": 3, "area": 4}', b"{}")
    reply = prices.predict(content.replace(b"image/png", b"application/json"), headers)
    assert (reply.status, reply.json()["detail"][:13]) == (422, "file 2 of 2: ")


def test_the_page_has_a_field_for_each_column_and_shows_titles_as_text(prices: Server) -> None:
    page = prices.ask("GET", "/").body.decode()
    assert page.count("What is &lt;it&gt; worth?") == 2
    facts = json.loads(page.partition('type="application/json">')[2].partition("</script>")[0])
    assert (facts["form"], list(facts["fields"]), facts["samples"]) == ("table", ["rooms", "area"], [])


def test_a_project_can_have_a_page_of_its_own(tmp_path: Path) -> None:
    class Own(Letters):
        def about(self, spec: Spec) -> About:
            return About(title="Mine & yours", form=tmp_path / "own.html")

    facts = '<script type="application/json">"FACTS"</script>'
    (tmp_path / "own.html").write_text(f"<title>TITLE</title><style></style>{facts}<script>0</script>")
    content, policy = page(make_artifact(Own(), {}, "length", []))
    assert b"<title>Mine &amp; yours</title>" in content
    assert b'"form": "own"' in content
    assert policy.count("'sha256-") == 2


def test_texts_of_different_lengths_are_answered_together_and_counted(letters: Server) -> None:
    content, headers = form(b"ab", b"a", b"b", b"abc")
    answers = letters.predict(content.replace(b"image/png", b"text/plain"), headers).json()
    assert [answer["category"] for answer in answers] == ["odd", "odd", "even", "even"]
    assert answers[0]["warnings"] == []
    counted = letters.ask("GET", "/metrics").body.decode()
    assert 'tiny_examples_total{category="odd"} 2.0' in counted
    assert letters.ask("GET", "/health").status == 200


@pytest.mark.parametrize(
    ("width", "chosen"),
    [(3, []), ("any", []), (2, [make_sample(1)]), (2, [Sample("a\n", {}, {})]), (2, [Sample("a", {}, {})])],
)
def test_a_graph_or_a_sample_that_does_not_fit_the_project_is_refused(width: int | str, chosen: list[Sample]) -> None:
    with pytest.raises(UsageError, match="its content is not ours"):
        make_artifact(Prices(), {"columns": ["rooms", "area"]}, width, chosen)


def test_samples_come_back_as_they_were_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Sample(str(number), {"a": np.full((2, 3), number, np.int16)}, {}) for number in range(10)]
    (*_, last) = map(read_sample, json.loads(dump_samples(many))["samples"])
    assert (last.title, last.inputs["a"].dtype.name, last.inputs["a"].tolist()) == ("9", "int16", [[9] * 3] * 2)
    monkeypatch.setattr(samples, "MAX_BYTES", 40)
    few = json.loads(dump_samples(many))["samples"]
    assert [each["title"] for each in few] == ["0", "4", "8"]
