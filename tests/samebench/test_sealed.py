import hashlib
import io
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from samebench import sealed
from samebench.command import Refusal

TENSORS = {
    "a": torch.arange(6.0).view(2, 3),
    "b": torch.tensor([1, 2**62]),
    "c": torch.tensor(True),
    "d": torch.zeros(0),
}
FACTS = {"step": 3, "rate": 0.1, "name": 'a "quoted" ümlaut'}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    path.write_bytes(sealed.pack("checkpoint", TENSORS, FACTS))
    return path


def test_what_is_packed_comes_back(path: Path) -> None:
    tensors, facts = sealed.unpack(path, "checkpoint")
    assert facts == FACTS
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_the_same_content_gives_the_same_bytes(path: Path) -> None:
    backwards = dict(reversed(TENSORS.items()))
    assert sealed.pack("checkpoint", backwards, FACTS) == path.read_bytes()


def test_any_safetensors_tool_opens_it(path: Path) -> None:
    assert torch.equal(safetensors.torch.load_file(path)["b"], TENSORS["b"])


def test_the_hash_is_that_of_the_file_with_zeros_in_its_place(path: Path) -> None:
    content = path.read_bytes()
    found = content[sealed.PLACE]
    assert hashlib.sha256(content.replace(found, b"0" * 64)).hexdigest().encode() == found


def test_every_flipped_bit_is_found_before_anything_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    monkeypatch.setattr(json, "loads", None)
    monkeypatch.setattr(safetensors.torch, "load", None)
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(Refusal, match="nothing in it was read"):
            sealed.unpack(path, "checkpoint")


def test_every_truncation_and_every_addition_is_found(path: Path) -> None:
    content = path.read_bytes()
    for damaged in [*(content[:length] for length in range(len(content))), content + b"\0"]:
        path.write_bytes(damaged)
        with pytest.raises(Refusal, match="nothing in it was read"):
            sealed.unpack(path, "checkpoint")


class Replaced(io.BytesIO):
    """A file that somebody overwrites once it has been read to its end."""

    def seek(self, *where: int) -> int:
        self.getbuffer()[-1] ^= 0xFF
        return super().seek(*where)


def test_what_is_taken_is_what_was_hashed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    monkeypatch.setattr(Path, "open", lambda *_: Replaced(content))
    with pytest.raises(Refusal, match="damaged"):
        sealed.unpack(path, "checkpoint")


def test_a_huge_file_that_only_begins_as_ours_do_is_never_held_whole(path: Path) -> None:
    os.truncate(path, 300 << 20)
    tracemalloc.start()
    with pytest.raises(Refusal, match="damaged"):
        sealed.unpack(path, "checkpoint")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 << 20


def test_another_kind_is_refused(path: Path) -> None:
    with pytest.raises(Refusal, match="a checkpoint, expected a model; take another"):
        sealed.unpack(path, "model")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="not there; take another, or train first"):
        sealed.unpack(tmp_path / "none", "model")


def forged(header: bytes, data: bytes = b"") -> bytes:
    """A file whose hash is right, as somebody with bad intentions can make one."""
    content = bytearray(len(header).to_bytes(8, "little") + header + data)
    content[sealed.PLACE] = sealed.ZEROS
    content[sealed.PLACE] = hashlib.sha256(content).hexdigest().encode()
    return bytes(content)


def header(told: str = '{\\"kind\\": \\"model\\"}', rest: str = "") -> bytes:
    return sealed.PREFIX + b"0" * 64 + f' {told}"}}{rest}}}'.encode()


@pytest.mark.parametrize(
    "content",
    [
        forged(header("not json")),
        forged(header("[]")),
        forged(header("{}")),
        forged(header("[" * 100_000)),
        forged(header(rest=',"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}')),
        forged(header(rest=',"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}')),
        forged(header(rest=',"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}'), b"1234"),
        forged(header(), b"appended"),
        b"\xff" * 7 + b"\x7f" + forged(header())[8:],
    ],
    ids=[
        "no JSON",
        "a list",
        "no kind",
        "deep",
        "data missing",
        "data huge",
        "type unknown",
        "appended",
        "header huge",
    ],
)
def test_a_forged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Refusal, match=r"its content is not ours|nothing in it was read"):
        sealed.unpack(tmp_path / "a", "model")


def test_a_whole_forged_file_is_taken_so_that_the_others_are_refused_for_what_is_wrong_with_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").write_bytes(forged(header()))
    empty: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    assert sealed.unpack(tmp_path / "a", "model") == empty
