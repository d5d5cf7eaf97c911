"""The locks: current, complete, hashed, and free of addresses."""

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.core.paths import ROOT
from samebench.environment import lock

LOCKS = [lock.SHARED, lock.CPU, lock.GPU, lock.SERVE, lock.REFERENCE, lock.VERSIONS]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A package index on loopback and the folder that it serves."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", tmp_path
        server.shutdown()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_is_what_pyproject_asks_for(name: str) -> None:
    assert lock.digest_of_declared() in (ROOT / name).read_text().splitlines()[0], "run make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_its_hashes_and_no_lock_names_an_address_or_a_path(name: str) -> None:
    text = (ROOT / name).read_text()
    assert all(hashes for _, hashes in lock.parse(text))
    assert not re.search(r"://|\bfile:|(^|\s)/", text)


def test_both_workspaces_share_everything_but_torch_and_cuda() -> None:
    cpu, gpu = ({pin.split("=")[0] for pin, _ in lock.parse((ROOT / name).read_text())} for name in LOCKS[1:3])
    shared = {pin.split("=")[0] for pin, _ in lock.parse((ROOT / lock.SHARED).read_text())}
    assert cpu == {"torch"}
    assert all(re.match("torch|triton|cuda-|nvidia-", name) for name in gpu)
    assert not shared & gpu


def test_the_server_has_no_torch_and_the_workspace_all_that_the_server_has_in_the_same_versions() -> None:
    serve, shared = ({pin for pin, _ in lock.parse((ROOT / name).read_text())} for name in (lock.SERVE, lock.SHARED))
    assert serve <= shared
    assert not [pin for pin in serve if re.match("torch|onnx==|onnxscript|jupyter", pin)]
    assert {pin.split("=")[0] for pin in serve} >= set(lock.declared_requirements()[2]["serve"])


def test_torch_has_the_version_of_pyproject_in_each_lock() -> None:
    (asked,) = [requirement for requirement in lock.declared_requirements()[1] if requirement.startswith("torch==")]
    pins = {pin for name in LOCKS[1:3] for pin, _ in lock.parse((ROOT / name).read_text()) if "torch" in pin}
    assert pins == {f"{asked}+cpu", asked.replace("==", "===")}


def test_dvc_keeps_the_versions_of_its_own_lock_and_asks_the_workspace_for_none() -> None:
    own = {pin for pin, _ in lock.parse((ROOT / lock.VERSIONS).read_text())}
    assert set(lock.current_pins((lock.VERSIONS,))) == own
    assert {pin.split("=")[0] for pin in own} >= set(lock.declared_requirements()[2]["versions"])
    assert not {pin.split("=")[0] for pin in lock.current_pins()} & {"dvc", "dvc-ssh"}


def test_what_is_locked_stays_until_the_cut_off_date_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    pins = [pin for name in (lock.SHARED, lock.REFERENCE) for pin, _ in lock.parse((ROOT / name).read_text())]
    assert set(pins) < set(lock.current_pins())
    python, requirements, groups, _ = lock.declared_requirements()
    monkeypatch.setattr(
        lock, "declared_requirements", lambda *_: (python, requirements, groups, "2027-01-01T00:00:00Z")
    )
    assert lock.current_pins() == []


def test_cpu_build_of_a_new_torch_comes_from_its_index(
    index: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = index
    (folder / "torch").mkdir()
    link = '<a href="/whl/cpu/torch-9.0.0%2Bcpu-cp{0}-cp{0}-manylinux_2_28_{1}.whl#sha256={2}">wheel</a>\n'
    (folder / "torch/index.html").write_text(
        link.format("311", "x86_64", "a" * 64) + link.format("311", "aarch64", "b" * 64)
        + link.format("312", "x86_64", "c" * 64) + link.format("311", "s390x", "d" * 64)
    )  # fmt: skip
    monkeypatch.setenv("TORCH_INDEX", address)
    assert lock.cpu_build("torch==9.0.0", python="3.11") == (
        "torch==9.0.0+cpu",
        (f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"),
    )
    with pytest.raises(ValueError, match=r"has 0 Linux wheels of torch==9\.1\.0\+cpu"):
        lock.cpu_build("torch==9.1.0", python="3.11")


def test_index_that_does_not_answer_leaves_every_lock_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [(ROOT / name).read_bytes() for name in LOCKS]
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(UsageError, match="nothing was changed"):
        lock.main([])
    assert [(ROOT / name).read_bytes() for name in LOCKS] == before
