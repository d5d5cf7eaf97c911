"""Fetches data sets in the version that the checkout names: from the cache, the team's remote, or their publisher.

python -m samebench.data.fetch [--dataset NAME]   every set of data/, or one
python -m samebench.data.fetch NAME|DIRECTORY     verifies what the setting `data` names so, and counts its examples
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from samebench import project
from samebench.core import command
from samebench.data import checkout, dataset_files, source, versions


def fetch_dataset(name: str, *, root: Path | None = None) -> bool:
    """Have the set `name` in data/, in the version that the checkout names; tell whether anything had to be done.

    Raises UsageError and RequirementError as `checkout.check_out` does.
    """
    root = root or source.LISTINGS.parent
    dataset_files.finish(name, home=root / "data")
    version = versions.load_version(name, root=root)
    public = project.upstream_fetchers().get(name)
    return checkout.check_out(version, versions.folder_of(name, root=root), root=root, public=public)


def main(argv: Sequence[str]) -> None:
    """Fetch every set but those of other projects, or the one that is named; or verify the data given."""
    parser = argparse.ArgumentParser(prog="fetch", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", default="", help="what to verify: a data set, or a directory")
    parser.add_argument("--dataset", metavar="NAME", default="", help="the set of data/ to fetch; every one by default")
    args = parser.parse_args(argv)
    if args.data:
        _verify(args.data)
        return
    names = [args.dataset] if args.dataset else sorted({*versions.dataset_names()} - project.datasets_of_others())
    command.for_each(names, _fetch)


def _fetch(name: str) -> None:
    outcome = "brought" if fetch_dataset(name) else "already there"
    number = len(versions.load_version(name).listing)
    print(f"data/{name}: {outcome}, {number} files, all hashes right", flush=True)


def _verify(name: str) -> None:
    data = project.task().load_data(name)
    parts = {"training": data.training, "validation": data.validation, "test": data.test()}
    counts = ", ".join(f"{len(part):,} {kind}" for kind, part in parts.items())
    print(f"{name}: whole, {counts} examples, version {data.version[:12]}")


if __name__ == "__main__":
    command.run(main)
