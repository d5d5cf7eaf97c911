"""The team's registry: an image that a teammate has pushed is pulled instead of being built again.

    [tool.samebench.image]
    registry = "registry.example/team/bench"

An image has the tag of its inputs there, too: what is pulled is made from exactly these. `make push` notes its digest
in docker/images.sha256, which goes into git: then the engine itself refuses each other content.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from samebench.host import toml
from samebench.host.engine import Engine
from samebench.host.errors import RequirementError, UsageError
from samebench.host.image import Image
from samebench.host.process import output_of, print_message, run

DIGESTS = Path("docker/images.sha256")
TABLE = "tool.samebench.image"
ADDRESS = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def address(to: str = "") -> str:
    """Where the team's images are: what `TO=` gives, or pyproject.toml; "" for nowhere. Raises UsageError."""
    where = "TO"
    if not to:
        value = toml.read(Path("pyproject.toml"), TABLE).get("registry", "")
        to, where = str(value), f"pyproject.toml, [{TABLE}]: registry"
    if to and not ADDRESS.fullmatch(to):
        raise UsageError(f"{where}={to}: no address of a repository; give one such as registry.example/team/bench")
    return to


def digest_in_git(image: Image) -> str:
    """The digest that docker/images.sha256 notes for this image; "" where it notes none."""
    return _read_digests().get(_tag(image), "")


def _tag(image: Image) -> str:
    return image.name.partition(":")[2]


def _read_digests() -> dict[str, str]:
    try:
        lines = [line.split() for line in DIGESTS.read_text().splitlines()]
    except FileNotFoundError:
        return {}
    for words in lines:
        if len(words) != 2 or not DIGEST.fullmatch(f"sha256:{words[0]}"):
            raise UsageError(f"{DIGESTS}: {' '.join(words)[:80]} is no line of it; git checkout {DIGESTS}")
    return {tag: f"sha256:{digest}" for digest, tag in lines}


def pull(image: Image, engine: Engine) -> bool:
    """Have the image from the team's registry, under its names here; False where there is none.

    Raises UsageError where the registry has another image than the one that git names.
    """
    place = address()
    if not place or image.flavour == "serve":
        return False
    digest = digest_in_git(image)
    source = f"{place}@{digest}" if digest else f"{place}:{_tag(image)}"
    print_message(f"pulling {source}")
    if run([engine.name, "pull", "--quiet", source]):
        print_message(f"{place} has no image of these inputs, or does not answer (see above)")
        return False
    for name in (image.name, image.latest):
        output_of([engine.name, "tag", source, name])
    print_message(
        f"{image.name} is {digest}, as {DIGESTS} notes it"
        if digest
        else f"{image.name}: {DIGESTS} notes no digest of it"
    )
    return True


def push(image: Image, place: str, engine: Engine) -> int:
    """`make push`: carry the image to the registry, and note its digest. Raises RequirementError."""
    target = f"{place}:{_tag(image)}"
    output_of([engine.name, "tag", image.name, target])
    digest = _push_image(target, engine)
    lines = {**_read_digests(), _tag(image): digest}
    DIGESTS.write_text("".join(f"{value.partition(':')[2]}  {tag}\n" for tag, value in sorted(lines.items())))
    print(f"{place}@{digest}: pushed; git add {DIGESTS}, and teammates who build pull it")
    return 0


def _push_image(target: str, engine: Engine) -> str:
    """The digest under which the registry has what was pushed."""
    with tempfile.TemporaryDirectory(prefix="samebench-") as work:
        note = Path(work, "digest")
        options = ["--digestfile", str(note)] if engine.name == "podman" else []
        if run([engine.name, "push", *options, target]):
            raise RequirementError(
                f"{target}: could not be pushed (see above); log in ({engine.name} login), or give another TO="
            )
        if options:
            return note.read_text().strip()
    place = target.rpartition(":")[0]
    every = output_of([engine.name, "image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', target]).splitlines()
    digests = [each.rpartition("@")[2] for each in every if each.startswith(f"{place}@")]
    if not digests:
        raise RequirementError(
            f"{target}: {engine.name} does not say its digest; see {engine.name} image inspect {target}"
        )
    return digests[-1]
