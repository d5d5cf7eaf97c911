import errno
import hashlib
import io
import json
import os
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from samebench.core import files
from samebench.core.command import UsageError
from samebench.data import checked_safetensors

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
    path.write_bytes(checked_safetensors.dumps("checkpoint", TENSORS, FACTS))
    return path


def test_what_is_packed_comes_back(path: Path) -> None:
    tensors, facts = checked_safetensors.load(path, "checkpoint")
    assert facts == FACTS
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_the_same_content_gives_the_same_bytes(path: Path) -> None:
    backwards = dict(reversed(TENSORS.items()))
    assert checked_safetensors.dumps("checkpoint", backwards, FACTS) == path.read_bytes()


def test_any_safetensors_tool_opens_it(path: Path) -> None:
    assert torch.equal(safetensors.torch.load_file(path)["b"], TENSORS["b"])


def test_the_hash_is_that_of_the_file_with_zeros_in_its_place(path: Path) -> None:
    content = path.read_bytes()
    found = content[checked_safetensors.PLACE]
    assert hashlib.sha256(content.replace(found, b"0" * 64)).hexdigest().encode() == found


def test_every_flipped_bit_is_found_before_anything_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    monkeypatch.setattr(json, "loads", None)
    monkeypatch.setattr(safetensors.torch, "load", None)
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="nothing in it was read"):
            checked_safetensors.load(path, "checkpoint")


def test_every_truncation_and_every_addition_is_found(path: Path) -> None:
    content = path.read_bytes()
    for damaged in [*(content[:length] for length in range(len(content))), content + b"\0"]:
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="nothing in it was read"):
            checked_safetensors.load(path, "checkpoint")


class Replaced(io.BytesIO):
    """A file that somebody overwrites once it has been read to its end."""

    def seek(self, *where: int) -> int:
        self.getbuffer()[-1] ^= 0xFF
        return super().seek(*where)


def test_what_is_taken_is_what_was_hashed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    monkeypatch.setattr(Path, "open", lambda *_: Replaced(content))
    with pytest.raises(UsageError, match="damaged"):
        checked_safetensors.load(path, "checkpoint")


def test_a_huge_file_that_only_begins_as_ours_do_is_never_held_whole(path: Path) -> None:
    os.truncate(path, 300 << 20)
    tracemalloc.start()
    with pytest.raises(UsageError, match="damaged"):
        checked_safetensors.load(path, "checkpoint")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 << 20


def test_another_kind_is_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="a checkpoint, expected a model; take another"):
        checked_safetensors.load(path, "model")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not there; take another, or train first"):
        checked_safetensors.load(tmp_path / "none", "model")


def forged(header: bytes, data: bytes = b"", *, length: bytes = b"") -> bytes:
    """A file whose hash is right, as somebody with bad intentions can make one."""
    content = bytearray((length or len(header).to_bytes(8, "little")) + header + data)
    content[checked_safetensors.PLACE] = checked_safetensors.ZEROS
    content[checked_safetensors.PLACE] = hashlib.sha256(content).hexdigest().encode()
    return bytes(content)


def header(told: str = '{\\"kind\\": \\"model\\"}', rest: str = "") -> bytes:
    return checked_safetensors.PREFIX + b"0" * 64 + f' {told}"}}{rest}}}'.encode()


ONE = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


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
        forged(header(rest=',"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}'), b"1234"),
        forged(header(rest=',"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}'), b"1234"),
        forged(header(rest=',"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}'), b"12345678"),
        forged(header(rest=f",{ONE},{ONE.replace('a', 'b', 1)}"), b"1234"),
        forged(header(rest=f",{ONE},{ONE}"), b"1234"),
        forged(header(rest=',"__metadata__":{"samebench":"x"}')),
        forged(header('{\\"kind\\": \\"checkpoint\\", \\"kind\\": \\"model\\"}')),
        forged(header(rest=',"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}')),
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
        "shape negative",
        "offset negative",
        "hole",
        "overlap",
        "tensor twice",
        "metadata twice",
        "kind twice",
        "strides overflow",
        "header huge",
    ],
)
def test_a_forged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UsageError, match=r"its content is not ours|nothing in it was read"):
        checked_safetensors.load(tmp_path / "a", "model")


def test_a_whole_forged_file_is_taken_so_that_the_others_are_refused_for_what_is_wrong_with_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").write_bytes(forged(header()))
    empty: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    assert checked_safetensors.load(tmp_path / "a", "model") == empty


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The file with a few bytes changed, added or taken away; its beginning is ours and its hash is right."""
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(changed))
        parts = [rng.randbytes(rng.randrange(1, 5)), b"", b"9" * 20, b"-1", b"null", b"[", b"{}", b'"', b"1e400"]
        changed[place : place + rng.randrange(6)] = rng.choice(parts)
    changed[8 : 8 + len(checked_safetensors.PREFIX)] = checked_safetensors.PREFIX
    if rng.random() < 0.7:
        changed[:8] = max(0, len(changed) - 8 - 16).to_bytes(8, "little")
    return forged(bytes(changed[8:]), length=bytes(changed[:8]))


def test_of_2000_forged_files_each_is_read_or_refused_and_none_takes_more_memory_than_a_small_one(
    tmp_path: Path,
) -> None:
    rest = f',{ONE},"b":{{"dtype":"I64","shape":[1],"data_offsets":[4,12]}}'
    base, rng, said = forged(header(rest=rest), bytes(12)), random.Random(0), list[str]()
    checked_safetensors.load(written(tmp_path, base), "model")
    tracemalloc.start()
    for _ in range(2000):
        try:
            checked_safetensors.load(written(tmp_path, mutated(base, rng)), "model")
        except UsageError as refusal:
            said.append(str(refusal))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(said) > 1000
    assert all(map(str.isprintable, said))
    assert most < 4 << 20


def written(folder: Path, content: bytes) -> Path:
    (folder / "a").write_bytes(content)
    return folder / "a"


@pytest.mark.parametrize("what", ["device", "pipe", "folder"])
def test_what_is_no_file_is_refused_unopened(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a"
    if what == "device":
        path.symlink_to("/dev/zero")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(UsageError, match="not there; take another, or train first"):
        checked_safetensors.load(path, "model")


def test_a_file_is_streamed_to_a_file_system_that_can_not_sync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(files, "_warned", {"files"})
    path.unlink()
    checked_safetensors.stream(path, "dataset", {"a": TENSORS["a"]}, FACTS)
    assert torch.equal(checked_safetensors.load(path, "dataset")[0]["a"], TENSORS["a"])


def test_a_file_larger_than_memory_is_mapped(path: Path) -> None:
    numbers = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    count = 2 * sum(int(numbers[name].split()[0]) << 10 for name in ("MemTotal", "SwapTotal"))
    images = torch.zeros(1, dtype=torch.uint8).expand(count)
    tensors = {"images": images, "labels": torch.zeros(2, dtype=torch.int64), "none": torch.zeros(0, 3)}
    header = checked_safetensors._header(json.dumps({"kind": "dataset", **FACTS}), tensors)
    with path.open("wb") as file:  # the file has holes, which take no room on the disk
        file.write(header)
        file.write((7).to_bytes(8, "little"))
        file.truncate(len(header) + 16 + count)
    mapped, facts = checked_safetensors.open_mapped(path, "dataset", is_verified=True)
    assert facts == FACTS
    assert {name: (each.dtype, each.shape) for name, each in mapped.items()} == {
        name: (each.dtype, each.shape) for name, each in tensors.items()
    }
    assert mapped["labels"].tolist() == [7, 0]
    mapped["images"][-1] = 1
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        assert file.read() == b"\0", "the process's copy was changed, and not the file"
