import json
import math
from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from samebench.core.command import UsageError
from samebench.core.flags import from_dict, parse, parse_all, to_dict, to_flags
from samebench.runs import grid


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


@dataclass(frozen=True)
class Order:
    table: int = 1


def test_the_flags_of_two_dataclasses_make_two_objects() -> None:
    oven, order = parse_all((Oven, Order), ["--table=2", "--dish=cake"], program="kitchen", about="Cooks.")
    assert (oven, order) == (Oven(dish="cake"), Order(table=2))
    with pytest.raises(UsageError, match=r"^Oven.degrees: argument --degrees: conflicting .*; give the field a diff"):
        parse_all((Oven, Oven), [], program="kitchen", about="Cooks.")


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
    with pytest.raises(UsageError) as refusal:
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


class Cake(Enum):
    SPONGE = "sponge"
    TART = 2


@dataclass(frozen=True)
class Bakery:
    """A field of each kind of annotation."""

    depth: Literal[18, 50] = 18
    mixed: Literal["a", 1] = "a"
    clip: float | None = None
    steps: int | None = 3
    number: int | float = 1
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, str] = (1, "x")
    pairs: tuple[tuple[int, int], ...] = ()
    tags: list[str] = field(default_factory=list)
    rates: list[float] = field(default_factory=lambda: [0.1, 0.2], metadata={"help": "100 % of it"})
    shade: bool = True
    maybe: bool | None = None
    cake: Cake = Cake.SPONGE
    where: Path = Path("here")
    title: str | None = None


def bakery(*words: str) -> Bakery:
    return parse(Bakery, words, program="bakery", about="Sells.")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("--depth=50", 50),
        ("--mixed=1", 1),
        ("--mixed=a", "a"),
        ("--clip=0.5", 0.5),
        ("--clip=1", 1.0),
        ("--clip=none", None),
        ("--steps=None", None),
        ("--steps=-7", -7),
        ("--number=2", 2),
        ("--number=2.5", 2.5),
        ("--sizes=1,2,8", (1, 2, 8)),
        ("--sizes=[1,2,8]", (1, 2, 8)),
        ("--sizes=-1", (-1,)),
        ("--sizes=[]", ()),
        ("--sizes=", ()),
        ("--pair=4,y", (4, "y")),
        ("--pairs=[[1,2],[3,4]]", ((1, 2), (3, 4))),
        ("--tags=a,b", ["a", "b"]),
        ("--tags=[a,b]", ["a", "b"]),
        ('--tags=["a,b","]"]', ["a,b", "]"]),
        ("--tags=[1,2]", ["1", "2"]),
        ("--rates=1,0.5", [1.0, 0.5]),
        ("--no-shade", False),
        ("--maybe=false", False),
        ("--maybe=none", None),
        ("--cake=sponge", Cake.SPONGE),
        ("--cake=TART", Cake.TART),
        ("--where=a/b", Path("a/b")),
        ("--title=none of it", "none of it"),
    ],
)
def test_a_flag_gives_the_value_and_the_type_of_the_annotation_and_so_does_the_receipt(word: str, value: Any) -> None:
    settings = bakery(word)
    name = word.removeprefix("--no-").lstrip("-").partition("=")[0]
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(value)
    receipt = json.loads(json.dumps(to_dict(settings), allow_nan=False))
    assert receipt == to_dict(settings)
    assert from_dict(Bakery, receipt) == settings
    assert bakery(*to_flags(Bakery, receipt)) == settings


def test_every_default_is_what_the_field_has_and_none_is_shared() -> None:
    assert bakery() == Bakery()
    assert from_dict(Bakery, {}) == Bakery()
    assert bakery().tags is not bakery().tags


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--depth=34", "argument --depth: invalid choice: '34' (choose from 18, 50)"),
        ("--depth=18.0", "invalid choice: '18.0'"),
        ("--clip=nan", "argument --clip: invalid float|none value: 'nan'"),
        ("--clip=1e400", "invalid float|none value: '1e400'"),
        ("--clip=", "invalid float|none value: ''"),
        ("--rates=1,inf", "invalid float value: 'inf': give a finite number"),
        ("--sizes=1,,2", "argument --sizes: invalid int value: ''"),
        ("--sizes=1,2.5", "invalid int value: '2.5'"),
        ("--sizes=[1,2", "invalid int value: '[1'"),
        ("--sizes=9223372036854775808", "invalid int value: '9223372036854775808': give a number of at most 64 bits"),
        (f"--sizes={'9' * 5000}", "invalid int value: "),
        ("--pair=1", "argument --pair: 1 values, expected 2: int,str"),
        ("--maybe=1", "invalid bool|none value: '1'"),
        ("--cake=sand", "invalid choice: 'sand' (choose from sponge, TART)"),
        (f"--pairs={'[' * 100_000}]", "argument --pairs: 1 values, expected 2: int,int"),
    ],
)
def test_a_value_that_the_annotation_excludes_is_refused_in_one_line(word: str, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        bakery(word)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_value_after_a_space_that_looks_like_a_flag_is_refused_with_the_way_to_give_it() -> None:
    with pytest.raises(UsageError, match="argument --sizes: expected one argument, and after = one that begins with -"):
        bakery("--sizes", "-1,2")


@pytest.mark.parametrize(
    "facts",
    [
        {"depth": "18"},
        {"depth": True},
        {"mixed": True},
        {"mixed": 1.0},
        {"clip": "0.5"},
        {"clip": math.nan},
        {"steps": True},
        {"steps": 2.0},
        {"steps": 2**70},
        {"sizes": 1},
        {"sizes": "12"},
        {"sizes": [1, "2"]},
        {"sizes": None},
        {"pair": [1]},
        {"shade": 1},
        {"cake": 2},
        {"where": None},
        {"other": 1},
    ],
)
def test_a_receipt_with_a_value_of_another_type_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(facts))):
        from_dict(Bakery, facts)


def test_help_tells_choices_types_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bakery("--help")
    out = " ".join(capsys.readouterr().out.split())
    for said in (
        "--depth {18,50} (default: 18)",
        "--clip FLOAT|NONE (default: none)",
        "--sizes INT,... (default: [1,2])",
        "--tags STR (default: [])",
        "100 % of it (default: [0.1,0.2])",
        "--shade, --no-shade (default: true)",
        "--cake {sponge,TART} (default: sponge)",
    ):
        assert said in out


@dataclass(frozen=True)
class Cellar:
    bottles: dict[str, int] = field(default_factory=dict)


def test_an_annotation_that_no_flag_can_have_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"^Cellar\.bottles: no flag can have the type dict; take bool, int, "):
        parse(Cellar, [], program="cellar", about="Holds.")


def test_a_point_of_a_sweep_has_the_settings_that_its_flags_and_its_receipt_give() -> None:
    gridded = "sizes=[1,2],[3],[] clip=none,0.5 shade=true,false depth=18,50 pairs=[[1,2],[3,4]],[]"
    points = grid.points(Bakery, gridded, ["--tags=a b,c", "--cake=TART"])
    assert len(points) == 3 * 2 * 2 * 2 * 2
    assert points[0].name == "sizes=[1,2] clip=none shade=true depth=18 pairs=[[1,2],[3,4]]"
    for point in points:
        settings = bakery(*point.cli_args)
        assert to_dict(settings) == point.settings == json.loads(json.dumps(point.settings))
        assert settings.tags == ["a b", "c"]
    assert {bakery(*point.cli_args).sizes for point in points} == {(1, 2), (3,), ()}


@dataclass(frozen=True, kw_only=True)
class Unions:
    """Text that could also be something else."""

    note: str | None = None
    size: int | str = 1
    where: Path | None = None
    flag: bool | str = False
    sizes: list[int] | str = ""


@pytest.mark.parametrize("text", ["none", "None", "1", "true", "1,2", '"1"', '"', '"none"', "a b", "", "1.5", "-1"])
def test_text_is_not_taken_for_a_value_of_another_type_when_a_run_is_asked_for_again(text: str) -> None:
    for name in ("note", "size", "where", "flag", "sizes"):
        facts = to_dict(from_dict(Unions, {name: text}))
        again = parse(Unions, to_flags(Unions, facts), program="p", about="a")
        assert to_dict(again) == facts


def test_literals_that_are_the_same_word_are_refused() -> None:
    @dataclass
    class Wrong:
        depth: Literal[18, "18"] = 18

    with pytest.raises(UsageError, match=r"^Wrong\.depth: two values of its Literal are the same word"):
        parse(Wrong, [], program="p", about="a")


@pytest.mark.parametrize(
    ("kind", "default"),
    [(int, True), (int, None), (float, math.inf), (str, 1), (list[int], ["a"]), (Literal[1, 2], 3), (int, 2**63)],
)
def test_a_default_that_is_not_as_the_annotation_says_is_refused(kind: object, default: object) -> None:
    wrong = make_dataclass("Wrong", [("size", kind, field(default_factory=lambda: default))])
    with pytest.raises(UsageError, match=r"^Wrong\.size: its default .* is not of its type "):
        parse(wrong, [], program="p", about="a")
