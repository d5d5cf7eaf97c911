from dataclasses import dataclass, field
from typing import Literal

import pytest

from samebench.command import Refusal
from samebench.settings import parse


@dataclass(frozen=True)
class Oven:
    degrees: int = field(default=180, metadata={"help": "how hot"})
    fan_speed: float = 0.5
    heat: Literal["top", "bottom"] = "top"
    fast: bool = False
    dish: str = "bread"


def oven(*words: str) -> Oven:
    return parse(Oven, words, program="oven", about="Bakes.")


def test_no_flags_give_the_defaults() -> None:
    assert oven() == Oven()


def test_flags_become_fields_of_their_types() -> None:
    words = ("--degrees", "200", "--fan-speed=0.25", "--heat", "bottom", "--fast", "--dish", "cake")
    assert oven(*words) == Oven(200, 0.25, "bottom", True, "cake")
    assert oven("--no-fast") == Oven()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--degree", "200"], "unknown setting --degree; did you mean --degrees?"),
        (["--degree=200"], "did you mean --degrees?"),
        (["--zzz"], "unknown setting --zzz; see --help"),
        (["bread"], "unknown setting bread; see --help"),
        (["--degrees", "hot"], "argument --degrees: invalid int value: 'hot'; see --help"),
        (["--heat", "side"], "argument --heat: invalid choice: 'side'"),
        (["--degrees"], "argument --degrees: expected one argument"),
        (["--fast=yes"], "argument --fast/--no-fast: ignored explicit argument 'yes'"),
    ],
)
def test_a_mistake_is_refused_in_one_line(words: list[str], said: str) -> None:
    with pytest.raises(Refusal) as refusal:
        oven(*words)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_help_tells_every_setting_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        oven("--help")
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "how hot (default: 180)" in out
    assert "--fan-speed" in out
