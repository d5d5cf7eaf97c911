"""What a commit must not carry.

python -m samebench.workspace.commit_checks FILE…

It prints a line for each thing that is wrong, with its remedy. The exit code is 1 if there is one.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from samebench.core import command
from samebench.core.command import UsageError
from samebench.core.git import GitError, run_git
from samebench.core.untrusted import read_json
from samebench.workspace.notebook_outputs import clean, strip_outputs

LIMIT = 1_000_000  # bytes; the largest file that belongs here, requirements.lock, has a fifth of it
FILTERED = "SAMEBENCH_FILTERED"  # set by lint.py for a working tree whose notebooks git filters
FINGERPRINT = {"format", "machine", "same", "sha256"}
CONFLICT = ("<" * 7 + " ", ">" * 7 + " ")


def too_large(path: Path) -> Iterator[str]:
    """A file that would stay in the history of every clone."""
    if (size := path.stat().st_size) > LIMIT:
        yield (
            f"{path}: {size / 1e6:.1f} MB, at most {LIMIT / 1e6:.0f} MB go into git; keep it outside, "
            f"with its hash in data/ (see data/*.sha256): git rm --cached '{path}'"
        )


def with_outputs(path: Path) -> Iterator[str]:
    """A notebook that the filter has not seen."""
    if path.suffix != ".ipynb":
        return
    content = path.read_bytes()
    try:
        stripped = strip_outputs(json.loads(content))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        yield f"{path}: no notebook ({error}); save it again in JupyterLab"
        return
    if json.dumps(json.loads(content)) != json.dumps(stripped):  # as text, where NaN equals NaN
        yield f"{path}: carries outputs or counts; strip them: make hooks && git add --renormalize '{path}'"


def dotenv(path: Path) -> Iterator[str]:
    """The file of variables that src/samebench/host/dotenv.py reads."""
    if path.name == ".env":
        yield f"{path}: holds your own variables, which stay here: git rm --cached '{path}'"


def conflicts(path: Path) -> Iterator[str]:
    """A merge that was not finished."""
    for number, line in _lines(path):
        if line.startswith(CONFLICT):
            yield f"{path}:{number}: a merge conflict ({line.strip()}); choose one side and delete the markers"


def secrets(path: Path) -> Iterator[str]:
    """Private keys, tokens and passwords, by detect-secrets' patterns and entropy; nothing is sent anywhere."""
    from detect_secrets.core.secrets_collection import SecretsCollection  # noqa: PLC0415 - slow to load
    from detect_secrets.settings import default_settings  # noqa: PLC0415

    if path.stat().st_size > LIMIT:
        return
    if is_fingerprint(path):
        return
    collection = SecretsCollection()
    with default_settings():
        collection.scan_file(str(path))
    places: dict[int, set[str]] = {}
    for _, secret in collection:
        places.setdefault(secret.line_number, set()).add(secret.type)
    for number, kinds in sorted(places.items()):
        yield (
            f"{path}:{number}: looks like a secret ({', '.join(sorted(kinds))}); take it out, and revoke it if it was "
            f"ever pushed; if it is none, end the line with # pragma: allowlist secret"
        )


def is_fingerprint(path: Path) -> bool:
    """Whether the file is what `make fingerprint` prints, whose hashes look like secrets."""
    if path.suffix != ".json":
        return False
    try:
        return read_json(path).keys() == FINGERPRINT
    except UsageError:
        return False


CHECKS: tuple[Callable[[Path], Iterator[str]], ...] = (too_large, with_outputs, dotenv, conflicts, secrets)


def find_problems(paths: Iterable[Path], *, filtered: bool = False) -> Iterator[str]:
    """One line for each thing that is wrong with a file; links and folders are skipped.

    With `filtered` a notebook is checked without its outputs, as git adds it.
    """
    with tempfile.TemporaryDirectory(prefix="samebench-") as scratch:
        for path in paths:
            if not path.is_file() or path.is_symlink():
                continue
            file = path
            if filtered and path.suffix == ".ipynb":
                file = Path(scratch, path.name)
                file.write_bytes(clean(path.read_bytes()))
            for check in CHECKS:
                yield from (line.replace(str(file), str(path)) for line in check(file))


def has_filter(root: Path) -> bool:
    """Whether git in `root` has the notebook filter that `make hooks` installs."""
    try:
        return bool(run_git("config", "--local", "filter.nbstripout.process", root=root, codes=(0, 1)))
    except GitError:
        return False


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield from enumerate(lines, start=1)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    warnings.simplefilter("ignore")  # what libraries think of a notebook is no business of a commit
    problems = list(find_problems(map(Path, argv), filtered=bool(os.environ.get(FILTERED))))
    for line in problems:
        print(line)
    return command.NO if problems else command.DONE


if __name__ == "__main__":
    command.run(main)
