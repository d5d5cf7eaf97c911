"""The host's side by its functions: what it imports, what it reads, and the words that it gives an engine."""

import ast
import os
import random
import shlex
import signal
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from samebench.host import artifact, call, container, cpu, engine, gpu, image, ports, process, toml
from samebench.host.engine import Engine, User
from samebench.host.errors import UsageError
from samebench.host.image import Image

from .checkout import INHERITED, ROOT, run
from .fakes import SCRIPT, checkout, write_program
from .server import wait_for

__all__ = ["checkout"]  # fixtures

HOST = ROOT / "src/samebench/host"


def imported(path: Path) -> set[str]:
    """The modules that a module imports."""
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("path", sorted(HOST.glob("*.py")), ids=lambda path: path.name)
def test_the_host_needs_the_standard_library_and_nothing_else_of_ours(path: Path) -> None:
    for name in imported(path):
        ours = name.startswith("samebench.host")
        assert ours or name.partition(".")[0] in sys.stdlib_module_names, name


def test_a_python_that_is_too_old_gets_one_line(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.py"
    main = f"{checkout}/src/samebench/host/__main__.py"
    old.write_text(f"import runpy, sys\nsys.version_info = (3, 8, 10)\nrunpy.run_path({main!r}, run_name='__main__')\n")
    done = run([sys.executable, old], cwd=checkout)
    assert done.returncode == 1
    assert done.stderr.startswith("samebench: this python3 is older than 3.9; put a newer one first on PATH")
    assert done.stderr.count("\n") == 1


def test_without_python3_make_says_so_in_one_line(checkout: Path, tmp_path: Path) -> None:
    for program in ("make", "sh"):
        found = subprocess.run(["which", program], capture_output=True, text=True).stdout.strip()
        (tmp_path / program).symlink_to(found)
    done = run(["make", "train"], cwd=checkout, variables={"PATH": str(tmp_path)})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("no python3 on this machine; install Python 3.9 or newer.  Stop.")


# ---- tables of pyproject.toml ----


def written(values: dict[str, toml.Value], chance: random.Random) -> str:
    """A table with these values, each in one of the ways in which TOML can say it."""

    def string(text: str) -> str:
        if "'" not in text and chance.random() < 0.5:
            return f"'{text}'"
        return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))

    def value(given: toml.Value) -> str:
        if isinstance(given, bool):
            return str(given).lower()
        if isinstance(given, list):
            gap = chance.choice(["", " ", "\n  ", ' # of "ours", [1]\n'])
            inner = f",{gap}".join(string(each) for each in given)
            return f"[{gap}{inner}{',' * (bool(given) and chance.random() < 0.5)}{gap}]"
        return string(given) if isinstance(given, str) else str(given)

    remark = chance.choice(["", "  # a remark", ""])
    return "".join(f"{name} = {value(given)}{remark}\n\n" for name, given in values.items())


def test_a_table_reads_as_tomllib_reads_it(tmp_path: Path) -> None:
    chance = random.Random(5)
    texts = ["", "libgl1", "a # b", 'say "x"', "it's", "a\\b", "a=b", "größe", "[x]", "{y}", "a, b"]
    for _ in range(500):
        values: dict[str, toml.Value] = {
            "apt": [chance.choice(texts) for _ in range(chance.randrange(4))],
            "shm_size": chance.choice(texts),
            "count": chance.randrange(1000),
            "switch": chance.choice([True, False]),
        }
        path = tmp_path / "pyproject.toml"
        other = '[tool.other]\napt = ["not ours"]\nx = { a = 1 }\n'
        path.write_text(f"{other}[tool.samebench.image]  # ours\n{written(values, chance)}{other}")
        assert tomllib.loads(path.read_text().rpartition("[tool.other]")[0])["tool"]["samebench"]["image"] == values
        assert toml.read(path, "tool.samebench.image") == values
    assert toml.read(path, "tool.nobodys") == toml.read(tmp_path / "none", "tool.other") == {}


def test_a_table_ends_where_another_begins(tmp_path: Path) -> None:
    text = '[tool.samebench.image]\napt = ["g++"]\n[[tool.uv.index]]\nurl = [1]\n[tool.samebench.container]\nx = [1]\n'
    (tmp_path / "pyproject.toml").write_text(text)
    assert toml.read(tmp_path / "pyproject.toml", "tool.samebench.image") == {"apt": ["g++"]}


@pytest.mark.parametrize("line", ["apt = [1]", "apt = x", 'apt = ["a"', "x = { a = 1 }", "x = 1.5", 'x = "a\\n"', "x"])
def test_what_a_table_can_not_hold_is_refused_by_its_name(line: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.samebench.image]\n{line}\n")
    name = line.partition("=")[0].strip()
    with pytest.raises(UsageError, match=rf"pyproject\.toml, \[tool\.samebench\.image\]: {name}: "):
        toml.read(tmp_path / "pyproject.toml", "tool.samebench.image")


# ---- parsers ----


@pytest.mark.parametrize(
    ("asked", "visible", "gpus"),
    [
        ("", "", ""), ("0", "1,2", ""), ("1", "", "all"), ("all", "", "all"), ("1", "2,3", "2,3"), ("0,2", "", "0,2"),
        ("2,", "", "2"), ("2,", "1,2", "2"), ("1", "GPU-8d1a", "GPU-8d1a"),
    ],
)  # fmt: skip
def test_gpus(asked: str, visible: str, gpus: str) -> None:
    assert gpu.parse({"GPU": asked, "CUDA_VISIBLE_DEVICES": visible}) == gpus


def test_ports() -> None:
    assert [ports.parse(text, 8888) for text in ("", "1024", "65535")] == [8888, 1024, 65535]
    for text in ("1023", "65536", "0", "-1", "8 888", "٨٨٨٨", "0x22B8", "8888.0"):
        with pytest.raises(UsageError, match=f"^PORT={text}: give a number from 1024 to 65535$"):
            ports.parse(text, 8888)


# ---- words for an engine ----


def test_the_user_in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    docker, podman = Engine("docker"), Engine("podman")
    monkeypatch.setattr(engine, "output_of", lambda _words: "")
    user, root = User(1000, 100, (27, 2000)), User(0, 0, (27,))
    assert user.engine_words(docker) == ["--user", "1000:100", "--group-add", "27", "--group-add", "2000"]
    assert root.engine_words(docker) == ["--user", "0:0"]
    assert user.engine_words(podman) == ["--userns", "keep-id"]
    assert root.engine_words(podman) == ["--user", "0:0"]
    monkeypatch.setattr(engine, "output_of", lambda _words: "[name=seccomp,profile=builtin name=rootless]")
    assert user.engine_words(docker) == ["--user", "0:0"]


def test_a_build_gets_secrets_as_files_and_proxies_by_name() -> None:
    made = Image(
        "a:1",
        "a:latest",
        "serve",
        artifact="runs/x/artifact",
        platform="linux/arm64",
        packages=("g++", "jq"),
        project="x",
    )
    hidden = "http://me:{}@host".format("x7")
    variables = {"https_proxy": hidden, "PIP_INDEX_URL": hidden, "BASE_IMAGE": "b:2"}
    words = image.build_options(made, call.Call(variables), secrets={"indexes": "/made/indexes"}, moment=7)
    assert words == [
        *("--file", "docker/serve.Dockerfile", "--tag", "a:1", "--tag", "a:latest"),
        *("--secret", "id=indexes,src=/made/indexes", "--build-context", "artifact=runs/x/artifact"),
        *("--build-arg", "PROJECT=x"),
        *("--platform", "linux/arm64", "--build-arg", "BASE_IMAGE=b:2", "--build-arg", "DEBIAN_PACKAGES=g++ jq"),
        *("--build-arg", "https_proxy", "--build-arg", "SOURCE_DATE_EPOCH=7"),
    ]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://127.0.0.1:3128", True), ("127.0.1.1:3128", True), ("http://me:x@localhost/simple", True),
        ("http://[::1]:80", True), ("http://127.0.0.1.example:80", False), ("http://localhosts", False),
        ("http://proxy.example:3128/127.0.0.1", False), ("", False),
    ],
)  # fmt: skip
def test_a_proxy_on_loopback_is_reached_by_the_hosts_network(address: str, host: bool) -> None:
    asked = call.Call({"https_proxy": address, "no_proxy": "localhost"})
    words = image.build_options(Image("a:1", "a:latest", "cpu"), asked, secrets={}, moment=7)
    assert (("--network", "host") in pairwise(words)) == host
    assert (("--network", "host") in pairwise(container.network_words(asked, server=False))) == host
    assert "--network" not in container.network_words(asked, server=True)


def test_an_index_with_quotes_reaches_a_step_as_it_is() -> None:
    address = 'http://me:it\'s $(x) "y"@index/simple'
    script = image.indexes_script({"PIP_INDEX_URL": address, "OTHER": "x"})
    done = subprocess.run(["sh", "-c", f'{script}printf %s "$PIP_INDEX_URL"'], capture_output=True, text=True)
    assert (done.stdout, done.stderr.count("secret")) == (address, 0)


# ---- the chip ----


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("flags : sse4_2 avx\nflags : sse4_2 avx\n", "default"),
        ("flags : avx avx2\n", None),
        ("Features : asimd\n", None),
    ],
)
def test_a_chip_without_avx2_gets_a_level_that_it_has(
    text: str, level: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert cpu.variables() == {}, "a system that does not say it"
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu.variables().get("ATEN_CPU_CAPABILITY") == level


# ---- programs ----


def test_a_password_in_any_address_is_masked() -> None:
    for scheme in ("http", "HTTPS", "socks5h"):
        assert process.without_credentials(f"at {scheme}://me:x@host/a@b") == f"at {scheme}://****@host/a@b"


# Notes when it has ended by itself.
SLOW = "trap 'sleep 1; echo out; echo cleaned >cleaned; exit 4' INT; echo begun >begun; while :; do sleep 0.1; done"


def interrupted(words: list[str], checkout: Path) -> int:
    """The exit code of a command that is interrupted, as by Ctrl-C, once what it has started is at work."""
    environment = {name: value for name, value in os.environ.items() if name not in INHERITED}
    with subprocess.Popen(
        words, cwd=checkout, env=environment | {"RUNTIME": "local"}, start_new_session=True
    ) as command:
        wait_for(checkout / "begun")
        os.killpg(command.pid, signal.SIGINT)
        return command.wait(20)


def test_ctrl_c_waits_for_the_command_that_makes_the_artifact(checkout: Path) -> None:
    words = [*SCRIPT, "--serve-image", "8000", "sh", "-c", SLOW]
    assert interrupted(words, checkout) == -signal.SIGINT
    assert (checkout / "cleaned").exists()


def test_ctrl_c_waits_for_what_draws_the_flow(checkout: Path) -> None:
    (checkout / ".venv/bin").mkdir(parents=True)
    write_program(checkout / ".venv/bin/python", SLOW)
    assert interrupted(["make", "flow"], checkout) == -signal.SIGINT
    assert (checkout / "cleaned").exists()


@pytest.mark.parametrize(
    ("line", "folder"),
    [("runs/1/artifact: done: really", "runs/1/artifact"), ("no folder", ""), ("", "")],
)
def test_the_last_line_begins_with_the_artifacts_folder(line: str, folder: str) -> None:
    assert artifact.make(call.Call({}), None, ["printf", "%s\n", "epoch 1", line]) == folder


def test_a_name_of_any_bytes_is_what_git_says(tmp_path: Path) -> None:
    write_program(tmp_path / "says", "printf 'caf\\351\\n'")
    assert os.fsencode(process.output_of([str(tmp_path / "says")])) == b"caf\xe9"


def test_a_program_that_is_not_there_has_the_code_of_a_shell(checkout: Path) -> None:
    assert process.capture(["/nowhere/docker", "info"]).returncode == 127
    assert process.capture(["/etc/passwd"]).returncode == 126
    assert process.output_of(["/nowhere/docker"]) == ""
    done = run([*SCRIPT, "/nowhere/program"], cwd=checkout, variables={"RUNTIME": "local"})
    assert done.returncode == 127
    assert done.stderr.splitlines()[-1] == "samebench: /nowhere/program: No such file or directory"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_command_runs_where_a_standard_file_is_closed(checkout: Path, closed: str) -> None:
    line = f"RUNTIME=local {shlex.join(SCRIPT)} sh -c 'echo done >ran' {closed}"
    done = run(["sh", "-c", line], cwd=checkout)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (checkout / "ran").read_text() == "done\n"


def test_a_killed_program_has_the_code_of_a_shell(tmp_path: Path) -> None:
    write_program(tmp_path / "dies", "kill -9 $$")
    assert process.run([str(tmp_path / "dies")]) == 128 + 9


def test_the_servers_image_has_the_name_and_the_sources_of_the_project(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    folder = checkout / "src/prices"
    folder.mkdir()
    for name in ("__init__.py", "serving.py", "task.py"):
        (folder / name).touch()
    ours, theirs = (set(image.server_sources(name)) for name in ("tiny", "prices"))
    assert theirs - ours == {"src/prices/__init__.py", "src/prices/serving.py"}
    assert ours - theirs == {"src/tiny/__init__.py", "src/tiny/serving.py"}
    artifact = checkout / "artifact"
    artifact.mkdir()
    made, other = (Image.of_server(call.Call({"PROJECT": name}), str(artifact)) for name in ("", "prices"))
    assert (made.latest, other.latest) == ("tiny-serve:latest", "prices-serve:latest")
    assert made.name.partition(":")[2] != other.name.partition(":")[2]
    for name in ("../src/tiny", "nothing", "--x", "samebench"):
        with pytest.raises(UsageError, match=f"PROJECT={name}: src/{name} is no project; give the name of a package"):
            Image.of_server(call.Call({"PROJECT": name}), str(artifact))
