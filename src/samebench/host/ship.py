"""`make ship`: what a partner gets, in dist/PROJECT-<version>-<architecture>/.

The host's part is the image, what it says is inside, and the signature. The files are bundle.py's affair, in the
runtime. openssl opens the key on the host, and no container ever sees it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from samebench.host import artifact, builds, image, project
from samebench.host.call import Call
from samebench.host.engine import Engine
from samebench.host.errors import CommandError, RequirementError, UsageError
from samebench.host.image import Image
from samebench.host.process import capture, print_message, run

INTERRUPTED = 4


def check_host(call: Call) -> None:
    """Refuse where nothing can be shipped from."""
    if call.get("SAMEBENCH"):
        raise RequirementError("make ship: no engine in here; run it on the host, outside of the container")
    if not call.get("KEY"):
        what = "make ship: signed with which key? Give KEY=/a/folder/outside/samebench.key"
        raise UsageError(f"{what}; it is made the first time")
    if not shutil.which("openssl"):
        raise RequirementError("make ship: no openssl on this machine, which signs; install it")


def ship(call: Call, engine: Engine, command: Sequence[str]) -> int:
    """Make the artifact, its image and a signed bundle of both; what does not pass its own check gets no name."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a script's background have it
            signal.signal(number, lambda *_: sys.exit(INTERRUPTED))
    if engine.is_local:
        raise _no_engine(engine)
    project.name(call)  # refuses before anything is made
    key = check_key(call)
    folder = artifact.make(call, engine, command)
    refuse_key_in(key, call.get("KEY"), folder)
    server_image = builds.ensure(Image.of_server(call, folder), call, engine)
    Path("dist").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making.", dir="dist") as making:
        work = os.path.relpath(making)  # absolute from Python 3.12 on; a container sees the checkout elsewhere
        verified = image.run_in(server_image, engine, ["verify"])
        sys.stderr.write(verified.stdout + verified.stderr)
        if verified.returncode:
            raise RequirementError(
                f"{server_image.name}: does not answer right about itself (see above); there is no bundle of it"
            )
        target = _fill(Path(work), folder, server_image, engine, call)
        _sign(key, Path(work))
        _publish(key, Path(work), target, server_image)
    return 0


def _no_engine(engine: Engine) -> CommandError:
    if engine.reason == "asked for":
        what = "make ship: RUNTIME=local makes no images, and a bundle holds one"
        return UsageError(f"{what}; leave RUNTIME out, or give docker or podman")
    return RequirementError("make ship: no engine answers, and a bundle holds an image; install docker or podman")


# ---- the key ----


def check_key(call: Call) -> Path:
    """The key that signs, made the first time. Raises UsageError for one that is none, or could get out."""
    path = call.get("KEY")
    if path.startswith("~/"):  # not every shell opens a ~ behind a =
        path = f"{call.get('HOME')}{path[1:]}"
    folder = Path(path).parent
    if not folder.is_dir():
        raise UsageError(f"KEY={path}: no folder {folder}; make it, or give another")
    key = folder.resolve() / Path(path).name
    if key.is_symlink():
        raise UsageError(f"KEY={key}: a link; give the file itself")
    if key.is_dir():
        raise UsageError(f"KEY={key}: a folder; give a file in it, such as {key}/samebench.key")
    # What containers are handed, and the checkout, out of which things get into git.
    for place in (".", call.get("DATA"), call.get("RUN"), call.wheelhouse):
        refuse_key_in(key, str(key), place)
    if not key.exists():
        _make_key(key)
    if key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"KEY={key}: others may read it; chmod 600 it, or make another if they have")
    if capture(["openssl", "rsa", "-in", str(key), "-noout"]).returncode:
        remedy = "give another, or a name that is free, to make one"
        raise UsageError(f"KEY={key}: not a private RSA key that openssl reads; {remedy}")
    _check_public(key)
    return key


def refuse_key_in(key: Path, key_text: str, folder: str) -> None:
    """Raise UsageError for a key that lies in a folder that others get to see."""
    if folder and Path(folder).is_dir() and Path(folder).resolve() in key.parents:
        what = f"KEY={key_text}: in {Path(folder).resolve()}, which goes into containers, an image or git"
        raise UsageError(f"{what}; keep it elsewhere")


def _make_key(key: Path) -> None:
    """RSA, whose signature over the same bytes is the same; 3072 bits are what NIST SP 800-57 asks for beyond 2030."""
    before = os.umask(0o077)
    try:
        words = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", str(key)]
        result = capture(words)
    finally:
        os.umask(before)
    if result.returncode:
        raise RequirementError(f"KEY={key}: could not be made there; give a folder that is yours")
    print_message(f"a new signing key, {key}: keep it to yourself, and keep a copy")


def public_of(key: Path) -> Path:
    """Where the key's public half lies."""
    return key.with_suffix(".pub") if key.suffix == ".key" else key.with_name(f"{key.name}.pub")


def _check_public(key: Path) -> None:
    result = capture(["openssl", "pkey", "-in", str(key), "-pubout"])
    if result.returncode or not result.stdout:
        raise UsageError(f"KEY={key}: openssl does not say its public half; give another, or the right passphrase")
    expected = result.stdout
    public = public_of(key)
    if not public.exists():
        public.write_text(expected)
    if public.read_text() != expected:
        raise UsageError(f"{public}: belongs to another key than {key}; move it away")
    bare = subprocess.run(
        ["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"], stdout=subprocess.PIPE, check=True
    )
    fingerprint = f"sha256:{hashlib.sha256(bare.stdout).hexdigest()}"
    print_message(f"signed by {public}, fingerprint {fingerprint}: give partners both, by another way than the bundle")


def _sign(key: Path, work: Path) -> None:
    words = ["openssl", "dgst", "-sha256", "-sign", str(key), "-out", f"{work}/SHA256SUMS.sig", f"{work}/SHA256SUMS"]
    if run(words):
        remedy = "give another, or a name that is free, to make one"
        raise UsageError(f"KEY={key}: can't sign (see above); {remedy}")


# ---- the bundle ----


def _fill(work: Path, folder: str, server_image: Image, engine: Engine, call: Call) -> str:
    """Put the files into `work`; the bundle's name."""
    try:
        for path in (Path(folder) / "../receipt.json", Path(folder) / "card.md"):
            shutil.copy(path, work)
    except OSError as error:
        raise UsageError(f"{folder}: no card, or no receipt beside it; make export again") from error
    shutil.copy("docker/serve.md", work / "run.md")
    inside = image.run_in(
        server_image,
        engine,
        ["-"],
        program="python",
        stdin=Path("src/samebench/shipping/image_inventory.py").read_bytes(),
    )
    if inside.returncode:
        sys.stderr.write(inside.stderr)
        raise RequirementError(f"{server_image.name}: does not say what is inside (see above)")
    (work / "inside.json").write_text(inside.stdout)
    if not image.save(server_image, engine, work / "saved.tar"):
        raise RequirementError(f"{server_image.name}: {engine.name} could not save it (see above)")
    variables = {"SAMEBENCH_QUIET": "1", "RUNTIME": engine.name, "PLATFORM": ""}
    names = server_image.project, server_image.name.partition(":")[0]
    words = image.host_words("python", "-m", "samebench.shipping.bundle", str(work), *names)
    result = subprocess.run(words, env={**call.variables, **variables}, stdout=subprocess.PIPE)
    if result.returncode:
        raise SystemExit(result.returncode)
    return result.stdout.decode().strip()


def _publish(key: Path, work: Path, target: str, server_image: Image) -> None:
    """Only what a partner would accept gets its name."""
    words = ["sh", "src/samebench/shipping/verify.sh", str(public_of(key)), str(work)]
    if run(words, environment={**os.environ, "LOAD": "0"}):
        raise CommandError(f"{work}: does not pass its own check (see above); there is no bundle")
    work.chmod(0o755)
    for path in work.iterdir():
        path.chmod(0o644)
    final = Path("dist") / target
    if not target or final.parent != Path("dist"):
        raise CommandError(f"{target}: no name of a bundle")
    shutil.rmtree(final, ignore_errors=True)
    work.rename(final)
    work.mkdir()  # which is ours to remove
    size = sum(path.stat().st_size for path in final.iterdir()) // 1_000_000
    print(f"{final}: {server_image.name}, {size} MB, signed; see docs/shipping.md")
