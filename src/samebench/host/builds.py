"""An image when a command needs it, and `make build`: pulled, built, made twice, held against a teammate's."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

from samebench.host import registry
from samebench.host.call import Call
from samebench.host.engine import Engine
from samebench.host.errors import RequirementError, UsageError
from samebench.host.files import bind
from samebench.host.image import SYSTEM, Image, base, build, host_words
from samebench.host.process import output_of, print_message, run


def ensure(image: Image, call: Call, engine: Engine) -> Image:
    """The image that a command runs in, built if need be. Raises RequirementError."""
    if call.get("CHECK"):
        check_build(image, call, engine)
    elif call.bootstrap:
        return _any_image(image, call, engine)
    elif not engine.has(image.name):
        if call.as_is:
            return _latest(image, engine)
        have(image, call, engine)
    return image


def have(image: Image, call: Call, engine: Engine) -> None:
    """Pull an image that is not here, or build it."""
    if not registry.pull(image, engine):
        build(image, call, engine)


def _any_image(image: Image, call: Call, engine: Engine) -> Image:
    """The locks may be such that the image can't be made of them; its stage `system` is made before they are read."""
    for name in (image.name, image.latest, SYSTEM):
        if engine.has(name):
            return image._replace(name=name)
    stage = image._replace(name=SYSTEM, latest=SYSTEM)
    build(stage, call, engine, ["--target", "system"])
    return stage


def _latest(image: Image, engine: Engine) -> Image:
    if not engine.has(image.latest):
        raise RequirementError(f"no image of the {image.flavour} workspace yet; make build")
    return image._replace(name=image.latest)


# ---- make build ----


def command_build(call: Call, engine: Engine) -> int:
    """`make build`: the image, and a line that says what it is."""
    started = time.monotonic()
    image = Image.of_workspace(call)
    if call.get("CHECK"):
        check_build(image, call, engine)
    elif engine.has(image.name):
        build(image, call, engine)
    else:
        have(image, call, engine)
    if expected := call.get("EXPECT"):
        compare(image, call, engine, expected)
    size = output_of([engine.name, "image", "inspect", "--format", "{{.Size}}", image.name])
    megabytes = int(size) // 1_000_000 if size.isdecimal() else "?"
    seconds = round(time.monotonic() - started)
    print(f"{image.latest}  {image.name}  {engine.digest(image.name)}  {megabytes} MB  {seconds} s")
    return 0


def check_build(image: Image, call: Call, engine: Engine) -> None:
    """Make the image twice, both times from nothing. Where files differ, name them and end with 1."""
    build(image, call, engine, ["--no-cache"])
    first = engine.digest(image.name)
    second_image = image._replace(name=f"{image.name}-again", latest=f"{image.name}-again")
    build(second_image, call, engine, ["--no-cache"])
    second = engine.digest(second_image.name)
    if first != second:
        print_message(f"not the same: {first}, then {second}; the first files that differ:")
        _show_differences(image, second_image, engine)
    output_of([engine.name, "rmi", second_image.name])
    if first != second:
        raise SystemExit(1)
    stands_on = base(call, image.flavour, engine)
    print_message(f"made twice from nothing: {first} both times, on {stands_on}, by {engine.builder}")


def _show_differences(first: Image, second: Image, engine: Engine) -> None:
    with tempfile.TemporaryDirectory(prefix="samebench-") as work:
        for name, image in (("first", first), ("second", second)):
            container = output_of([engine.name, "create", image.name, "true"])
            output_of([engine.name, "export", "--output", f"{work}/{name}.tar", container])
            output_of([engine.name, "rm", container])
        words = [engine.name, "run", "--rm", "--network", "none", "--user", "0:0", "--entrypoint", "python"]
        words += ["--env", "PYTHONPATH=/src", "--mount", bind(f"{Path.cwd()}/src", "/src", "readonly")]
        words += ["--mount", bind(work, "/check", "readonly"), first.name]
        run([*words, "-m", "samebench.shipping.image_layers", "/check/first.tar", "/check/second.tar"])


def compare(image: Image, call: Call, engine: Engine, expected: str) -> None:
    """Whether this is a teammate's image, by its digest or by their `make fingerprint`; ends with 1 where it is not.

    A fingerprint also tells what else the image depends on.
    """
    wanted_digest = expected if expected.startswith("sha256:") else _image_of_fingerprint(expected)
    actual_digest = engine.digest(image.name)
    if wanted_digest == actual_digest:
        print_message(f"as expected: {wanted_digest}")
        return
    stands_on = base(call, image.flavour, engine)
    print_message(
        f"not as expected: {actual_digest}, expected {wanted_digest}; this one is on {stands_on}, by {engine.builder}"
    )
    if wanted_digest != expected:
        variables = {"RUNTIME": engine.name, "WITH": expected, "EXPECT": "", "CHECK": "", "JSON": ""}
        run(host_words("--doctor"), environment={**call.variables, **variables})
    raise SystemExit(1)


def _image_of_fingerprint(path: str) -> str:
    try:
        match = re.search(r'^ *"image": "(sha256:[0-9a-f]*)"', Path(path).read_text(), re.MULTILINE)
    except OSError as error:
        remedy = "give a digest (sha256:…), or what a teammate's make fingerprint has printed"
        raise UsageError(f"EXPECT={path}: no such file; {remedy}") from error
    if not match:
        remedy = "give what make fingerprint prints where an engine runs it"
        raise UsageError(f"EXPECT={path}: tells of no image; {remedy}")
    return match[1]
