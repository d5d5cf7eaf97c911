"""An artifact as the server holds it: checked against its hash, then asked.

An artifact is a folder: `model.onnx`, with all that comes before and after the network inside the graph;
`samples.json`, whose hash is in the model; `model.onnx.sha256`, the hashes of both as sha256sum writes them; `card.md`,
for people. Somebody else may have made it.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from samebench import project
from samebench.core.command import UsageError
from samebench.core.text import is_line
from samebench.core.untrusted import parse_json, read_bytes
from samebench.serving.samples import MAX_FILE_BYTES, Arrays, Sample, read_sample
from samebench.serving.serving import Serving, Spec, TensorType, TensorTypes

if TYPE_CHECKING:
    import onnxruntime

MODEL, SAMPLES, SEAL, CARD = "model.onnx", "samples.json", "model.onnx.sha256", "card.md"
FACTS = "samebench"  # the name of our metadata inside the model
SAMPLES_SHA256 = "samples_sha256"  # in it, the hash of samples.json
FACT_NAMES = ("project", "run", "weights_sha256", "data_version", "locks", "figures")  # in it, beside the spec
LONGEST_LINE = 255  # letters of a seal's first word, of a sample's title
BATCH_BYTES = 1 << 18  # of the inputs that a graph is asked about at once by `predict_examples`; more only takes memory
ONNX_DTYPES = {"float": "float32", "double": "float64"}  # the others have numpy's names


@dataclass(frozen=True)
class Artifact:
    """A model that can be asked, and what it is."""

    session: "onnxruntime.InferenceSession"
    outputs: tuple[str, ...]  # their names
    serving: Serving
    spec: Spec  # of its data: labels, shapes, statistics
    facts: Mapping[str, Any]  # project, run, weights_sha256, data_version, locks, figures
    sha256: str
    samples: tuple[Sample, ...]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The artifact in `folder`. Raises UsageError for a missing, damaged or foreign one, the first two unparsed."""
        return cls.of(_read_model(folder), _samples(folder), folder / MODEL)

    @classmethod
    def of(cls, content: bytes, samples: bytes, path: Path) -> Self:
        """The artifact whose model is `content`, which is or will be at `path`, and whose samples.json is `samples`."""
        # Unless this is set before it is loaded, it numbers the machine and reports to its maker.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the work of one example is too small to share
        options.enable_cpu_mem_arena = False  # it keeps what the largest request took; without it nothing is slower
        options.log_severity_level = 3  # errors
        serving = project.serving()
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            metadata = parse_json(session.get_modelmeta().custom_metadata_map[FACTS], where=path)
            _check_hash(samples, metadata.pop(SAMPLES_SHA256, None), path.with_name(SAMPLES))
            facts = _check_facts({name: metadata.pop(name) for name in FACT_NAMES if name in metadata}, path)
            spec = serving.check_spec(metadata.get("spec", metadata))  # the first edition's has no name
            types = _tensors(session.get_inputs()), _tensors(session.get_outputs())
            _check_types(types, serving.graph_types(spec))
            all_samples = tuple(_parse_samples(samples, serving, spec, types, path.with_name(SAMPLES)))
            sha256 = hashlib.sha256(content).hexdigest()
            return cls(session, tuple(types[1]), serving, spec, facts, sha256, all_samples)
        except UsageError:
            raise
        except Exception as error:  # onnxruntime's errors have no common ancestor
            raise UsageError(f"{path}: its hash is right and its content is not ours; export it anew") from error

    def predict(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """The graph's outputs by name. The first dimension of each input and output is the examples."""
        return dict(zip(self.outputs, self.session.run(self.outputs, dict(inputs)), strict=True))

    def predict_examples(self, examples: Sequence[Arrays]) -> list[dict[str, NDArray[Any]]]:
        """The graph's outputs on each example; inputs and outputs have no batch dimension."""
        answers = []
        for batch in _batches(examples):
            outputs = self.predict(_stack(batch))
            answers += [{name: array[place] for name, array in outputs.items()} for place in range(len(batch))]
        return answers

    def measure_seconds(self, times: int = 3) -> float:
        """What the graph takes for one example, the best of so many times; infinity without a sample to ask about."""
        seconds = [float("inf")]
        for sample in self.samples[:1] * times:
            start = time.perf_counter()
            self.predict_examples([sample.inputs])
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    def check(self, places: Sequence[int] | None = None, *, seconds: float = float("inf")) -> int:
        """Ask about the samples at `places`, or all, for so long at most; how many were asked, at least one.

        Raises UsageError where an answer is not the recorded one.
        """
        samples = [self.samples[place] for place in (range(len(self.samples)) if places is None else places)]
        latest, count = time.monotonic() + seconds, 0
        for batch in _batches([sample.inputs for sample in samples]):
            self._check_batch(samples[count : count + len(batch)])
            count += len(batch)
            if time.monotonic() >= latest:
                break
        return count

    def _check_batch(self, samples: Sequence[Sample]) -> None:
        answers = self.predict_examples([sample.inputs for sample in samples])
        for sample, outputs in zip(samples, answers, strict=True):
            finite = all(np.isfinite(output).all() for output in outputs.values())
            if not finite or not self.serving.matches(sample, outputs, self.spec):
                raise UsageError(
                    f"artifact: its answer on the sample {sample.title} is not the recorded one; export it anew"
                )


def _read_model(folder: Path) -> bytes:
    model, seal = folder / MODEL, folder / SEAL
    if not (model.is_file() and seal.is_file()):
        raise UsageError(f"{folder}: no artifact there; make one: make export")
    content, expected = model.read_bytes(), seal.read_text(errors="replace")[:LONGEST_LINE].split(" ")[0]
    if (actual := hashlib.sha256(content).hexdigest()) != expected:
        raise UsageError(
            f"{model}: damaged, expected sha256 {expected}, got {actual}; nothing in it was read; export anew"
        )
    return content


def _samples(folder: Path) -> bytes:
    try:
        return read_bytes(folder / SAMPLES, max_bytes=MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"{folder}: no {SAMPLES}, as of an older export; make it anew: make export") from error


def _check_hash(samples: bytes, expected: object, path: Path) -> None:
    if not isinstance(expected, str):
        raise TypeError("it names no samples")
    if hashlib.sha256(samples).hexdigest() != expected:
        raise UsageError(f"{path}: not the samples of the model beside it; make both anew: make export")


def _check_facts(facts: dict[str, Any], path: Path) -> dict[str, Any]:
    package = facts.get("project", project.name())  # the first edition's does not say it
    texts = [facts["run"], facts["weights_sha256"], facts["data_version"], *facts["locks"], *facts["locks"].values()]
    if not all(isinstance(text, str) for text in (package, *texts)):
        raise TypeError("a fact is no text")
    if package != project.name():
        raise UsageError(f"{path}: of the project {package[:80]!a}, not of {project.name()}; give PROJECT=, or another")
    return facts


def _tensors(parts: Iterable[Any]) -> dict[str, TensorType]:
    """What a graph takes or gives. Raises ValueError for anything but tensors of any number of examples."""
    tensors = {}
    for part in parts:
        name = part.type.removeprefix("tensor(").removesuffix(")")
        if not part.shape or isinstance(part.shape[0], int):
            raise ValueError(f"{part.name} is for a fixed number of examples")
        shape = tuple(size if isinstance(size, int) else None for size in part.shape[1:])
        tensors[part.name] = TensorType(ONNX_DTYPES.get(name, name), shape)
    return tensors


def _check_types(actual: tuple[TensorTypes, TensorTypes], expected: tuple[TensorTypes, TensorTypes] | None) -> None:
    if expected and actual != expected:
        raise ValueError(f"its graph takes and gives {actual}, not {expected}")


def _parse_samples(
    content: bytes, serving: Serving, spec: Spec, types: tuple[TensorTypes, TensorTypes], path: Path
) -> Iterator[Sample]:
    """Raises LookupError, TypeError or ValueError for a sample that the graph can't have been asked about."""
    for entry in parse_json(content, where=path)["samples"]:
        if "inputs" in entry:
            sample = read_sample(entry)
            _check_arrays(sample.outputs, types[1])
        else:
            sample = serving.read_first_edition_sample(entry, spec)
        if not is_line(sample.title, longest=LONGEST_LINE):
            raise ValueError("the title of a sample is no line of text")
        _check_arrays(sample.inputs, types[0])
        yield sample


def _check_arrays(arrays: Arrays, types: TensorTypes) -> None:
    if arrays.keys() != types.keys():
        raise ValueError(f"arrays {list(arrays)}, not {list(types)}")
    for name, array in arrays.items():
        dtype, shape = types[name]
        has_shape = array.ndim == len(shape) and all(
            size in {None, length} for size, length in zip(shape, array.shape, strict=True)
        )
        if array.dtype.name != dtype or not has_shape:
            raise ValueError(f"{name} of {array.dtype.name} {array.shape}, not of {dtype} {shape}")


def _batches(examples: Sequence[Arrays]) -> Iterator[list[Arrays]]:
    """Examples of the same shapes that follow each other, of BATCH_BYTES together at most."""
    batch: list[Arrays] = []
    for example in examples:
        size = sum(array.nbytes for array in example.values())
        if batch and (_shapes(example) != _shapes(batch[0]) or (len(batch) + 1) * size > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def _stack(batch: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
    """Examples with a batch dimension; of one alone without a copy, which takes a tenth of np.stack's time."""
    if len(batch) == 1:
        return {name: array[np.newaxis] for name, array in batch[0].items()}
    return {name: np.stack([example[name] for example in batch]) for name in batch[0]}


def _shapes(example: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in example.items()}
