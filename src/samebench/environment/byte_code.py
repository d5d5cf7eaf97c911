"""The byte code of an image's environment: without a clock in it, and compiled once for each source.

    python src/samebench/environment/byte_code.py ENVIRONMENT CACHE

Byte code depends on the source, its path and the interpreter alone, so a file from CACHE has the bits of a new one. A
module without byte code is compiled when it is imported: those of tests, and what is no code for this Python.

Uses the standard library alone: it runs in a build, where nothing else of ours is.
"""

import hashlib
import importlib.util
import os
import py_compile
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

UNCHECKED_HASH = b"\1\0\0\0"  # PEP 552: Python never compares it with a source, which does not change in an image
TESTS = ("/test", "/tests", "/torch/testing")


def sources(environment: Path) -> Iterator[Path]:
    """Every module to compile that has no byte code."""
    for folder, folders, names in os.walk(environment):
        folders[:] = [name for name in folders if not f"{folder}/{name}".endswith(TESTS)]
        for name in names:
            path = Path(folder, name)
            if path.suffix == ".py" and not Path(importlib.util.cache_from_source(path)).exists():
                yield path


def write(cache: Path, source: Path) -> None:
    """Write the byte code of a module where Python looks for it."""
    cached = Path(f"{cache}{source}c")
    head = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source.read_bytes())
    if not cached.is_file() or not cached.read_bytes().startswith(head):
        try:
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(str(source), cfile=str(cached), doraise=True, invalidation_mode=mode)
        except py_compile.PyCompileError:
            return
    target = Path(importlib.util.cache_from_source(source))
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(cached.read_bytes())


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    environment, cache = map(Path, arguments)
    interpreter = hashlib.sha256(sys.version.encode()).hexdigest()[:12]
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(partial(write, cache / interpreter), sources(environment), chunksize=64):
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
