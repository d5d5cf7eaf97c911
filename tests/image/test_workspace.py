"""The workspace as somebody lives in it: shells, a name for every user, git, a compiler, more packages."""

import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.types import Mount

from samebench.core import local_server
from tests.samebench.checkout import ROOT, run

from .conftest import give

PYTHON = "/opt/venv/bin/python"
LIMITS = ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--tmpfs=/tmp:exec,mode=1777"]
AS_MAKE = [*LIMITS, "--env=HOME=/tmp", "--env=USER=bench"]  # what `make` adds

# Every user: root, the image's own, one of the same group, one that nobody knows, and nobody.
every_user = pytest.mark.parametrize("user", ["0:0", "1000:1000", "1001:1000", "1234:1234", "65534:65534"])
both_ways = pytest.mark.parametrize("options", [[], AS_MAKE], ids=["bare", "as make does"])


def in_container(image: str, *words: str, options: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    return run(["docker", "run", "--rm", *(options or []), image, *words], cwd=ROOT, timeout=800)


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("user", ["0", "1000", "1234"])
@pytest.mark.parametrize(
    "shell",
    ["sh -c", "sh -lc", "bash -c", "bash -lc", "bash -ic", "bash -lic"],
    ids=lambda words: words.replace(" ", ""),
)
def test_python_is_the_environments_in_every_shell(image: str, shell: str, user: str) -> None:
    line = "for name in python pytest jupyter useradd ldconfig dpkg make git; do command -v $name; done; echo $SHELL"
    found = said(in_container(image, *shell.split(), line, options=["--user", user])).splitlines()
    environment = [PYTHON, "/opt/venv/bin/pytest", "/opt/venv/bin/jupyter"]
    assert found == [
        *environment,
        "/usr/sbin/useradd",
        "/usr/sbin/ldconfig",
        *(f"/usr/bin/{x}" for x in ("dpkg", "make", "git")),
        "/bin/bash",
    ]


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
        os.close(follower)
        self.text = ""

    def read_until(self, wanted: str, *, seconds: float = 20) -> str:
        """All that it has written so far, once `wanted` is there."""
        end = time.monotonic() + seconds
        while wanted not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.leader], [], [], 1)[0]:
                self.text += os.read(self.leader, 4096).decode(errors="replace")
        return self.text

    def type(self, keys: str) -> None:
        self.text = ""
        os.write(self.leader, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.leader)


@pytest.fixture(params=["bash", "bash -l"])
def terminal(request: pytest.FixtureRequest, image: str, checkout: Path) -> Iterator[Terminal]:
    """A shell on a repository, in a terminal, as JupyterLab and `make shell` open one."""
    for words in (["init", "--quiet", "--initial-branch=shoes"], ["config", "user.name", "x"]):
        subprocess.run(["git", "-C", checkout, *words], check=True)
    (checkout / ".samebench").mkdir()
    mount = f"type=bind,source={checkout},target=/workspace"
    user = f"{os.getuid()}:{os.getgid()}"
    name = f"terminal-{os.getpid()}-{id(checkout)}"
    shell = Terminal(
        *("docker", "run", "--rm", "--interactive", "--tty", "--name", name, "--user", user, *AS_MAKE),
        *("--mount", mount, image, *str(request.param).split()),
    )
    yield shell
    shell.close()
    subprocess.run(["docker", "rm", "--force", name], capture_output=True)  # gone already, where it ended by itself


def test_terminal_says_where_one_is_completes_and_remembers(terminal: Terminal, checkout: Path) -> None:
    terminal.read_until("samebench:cpu /workspace (shoes)")
    terminal.type("cd src && echo $((40 + 2))\r")
    text = terminal.read_until("42")
    assert "42" in text
    terminal.read_until("samebench:cpu /workspace/src (shoes)")
    terminal.type("git checko\t")
    terminal.read_until("checkout ")
    terminal.type("\x15exit\r")
    terminal.process.wait(60)
    assert "cd src && echo" in (checkout / ".samebench/bash_history").read_text()


NAMES = """
test "$(whoami)" = "$(id -un)"
test "$(python -c 'import getpass, pwd, os; os.environ.pop("USER", 0); print(getpass.getuser())')" = "$(whoami)"
getent passwd "$(whoami)" >/dev/null
touch ~/file
git init --quiet --initial-branch=main /tmp/repository
cd /tmp/repository
git -c user.name=x -c user.email=x@y commit --quiet --allow-empty --message x
ssh -o BatchMode=yes 127.0.0.1 true 2>&1 | grep -q 'Connection refused'
mkdir ~/.ssh
ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
ssh -G 127.0.0.1 | grep -qxF "userknownhostsfile $HOME/.ssh/known_hosts"
ssh -v -o BatchMode=yes 127.0.0.1 true 2>&1 | grep -q 'No user exists' && exit 1
whoami
"""


@every_user
@both_ways
def test_every_user_has_a_name_and_may_use_git_and_ssh(image: str, user: str, options: list[str]) -> None:
    done = in_container(image, "sh", "-euc", NAMES, options=["--user", user, *options])
    names = {"0:0": "root", "1000:1000": "bench", "65534:65534": "nobody"}
    assert said(done) == names.get(user, f"user-{user.partition(':')[0]}")


def test_name_of_a_stranger_takes_no_uid_from_useradd(image: str) -> None:
    line = "useradd --uid 1234 --create-home somebody && id somebody && su somebody -c whoami && ! id 1235"
    assert said(in_container(image, "sh", "-c", line, options=["--user=0"])).splitlines()[-1] == "somebody"


@pytest.mark.parametrize("language", ["de_DE.UTF-8", "xx_YY", "C.UTF-8"])
def test_language_of_the_host_is_no_reason_for_a_warning(image: str, language: str) -> None:
    line = "perl -e 'print 42'; python -c 'print(\"\\u00e4\")'; locale charmap"
    options = [f"--env=LANG={language}", f"--env=LC_CTYPE={language}"]
    done = in_container(image, "bash", "-lc", line, options=options)
    assert (done.stdout, done.stderr) == ("42ä\nUTF-8\n", "")


GIT = """
cd "$(mktemp -d)" && git init --quiet && export HOME=$PWD
git config user.name Somebody && git config user.email somebody@example.org
GIT_EDITOR= git var GIT_PAGER
gpg --batch --quiet --passphrase '' --quick-generate-key 'Somebody <somebody@example.org>'
git commit --quiet --gpg-sign --allow-empty --message openpgp
git verify-commit HEAD
ssh-keygen -q -t ed25519 -N '' -f key
echo "somebody@example.org $(cat key.pub)" >signers
git config gpg.ssh.allowedSignersFile signers
git -c gpg.format=ssh -c user.signingkey=key commit --quiet --gpg-sign --allow-empty --message ssh
git verify-commit HEAD
git lfs track '*.bin' && head -c 9999 /dev/zero >a.bin && git add a.bin .gitattributes
git commit --quiet --message lfs && git show HEAD:a.bin | grep -q '^oid sha256:'
EDITOR=true git commit --allow-empty || true
git help commit
echo '{"a": "b"}' | jq -r .a
for name in curl ps less nano unzip editor; do command -v $name; done
getent services https
"""


@pytest.mark.parametrize(
    "user",
    [
        "1234:1234",
        *(pytest.param(each, marks=pytest.mark.soak) for each in ("0:0", "1000:1000", "1001:1000", "65534:65534")),
    ],
)
def test_a_day_with_git(image: str, user: str) -> None:
    done = in_container(image, "sh", "-euc", GIT, options=["--user", user, *AS_MAKE])
    text = said(done)
    assert "git-scm.com/docs/git-commit" in text, (
        "the pages themselves are not in the image, and it says where they are"
    )
    assert "Good signature" in done.stderr
    assert 'Good "git" signature' in done.stderr
    assert "443/tcp" in text


COMPILED = """
import torch
from torch.utils.cpp_extension import load_inline

source = "torch::Tensor twice(torch::Tensor x) { return x * 2; }"
extension = load_inline("twice", source, functions=["twice"])
assert extension.twice(torch.ones(3)).tolist() == [2.0, 2.0, 2.0]
compiled = torch.compile(lambda x: torch.sin(x) + 1)
assert torch.allclose(compiled(torch.zeros(100)), torch.ones(100))
print("compiled")
"""


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("user", ["1000:1000", "1234:1234"])
def test_torch_compiles_for_any_user(image: str, user: str) -> None:
    done = in_container(image, "python", "-c", COMPILED, options=["--user", user, *AS_MAKE])
    assert said(done).splitlines()[-1] == "compiled"


@pytest.fixture
def bare(engine: docker.DockerClient, image: str, checkout: Path) -> Iterator[Container]:
    """What `docker run -p 127.0.0.1:8888:8888 -v "$PWD:/workspace" samebench:cpu` starts, for a user without a name."""
    give(checkout, uid=4321, gid=4321)
    container = engine.containers.run(
        image,
        detach=True,
        user="4321:4321",
        mounts=[Mount("/workspace", str(checkout), type="bind")],
        ports={"8888/tcp": ("127.0.0.1", 0)},
    )
    yield container
    container.remove(force=True)


def token_of(container: Container) -> str:
    """The token in the link that it prints. It is asked again and again, as the SDK would leave a stream open."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := re.search(r"token=(\S+)", container.logs().decode()):
            return found[1]
        time.sleep(0.2)
    raise AssertionError(container.logs().decode())


def test_image_by_itself_starts_jupyterlab_behind_a_token(bare: Container) -> None:
    token = token_of(bare)
    bare.reload()
    (published, *_) = bare.ports["8888/tcp"] or []
    port = published["HostPort"]
    assert local_server.answer(f"http://127.0.0.1:{port}/api/status") == 403
    assert (
        local_server.answer(f"http://127.0.0.1:{port}/api/status", headers={"Authorization": f"token {token}"}) == 200
    )


def test_image_without_a_checkout_says_how_to_mount_one(image: str) -> None:
    done = in_container(image)
    assert done.returncode == 2
    assert done.stderr == 'samebench: no checkout in /workspace; mount it: docker run --volume "$PWD:/workspace" …\n'


def with_packages(checkout: Path, names: str) -> None:
    """Has the checkout's workspace take these Debian packages alone."""
    pyproject = checkout / "pyproject.toml"
    text, count = re.subn(r"(?ms)^apt = \[.*?^\]$", f"apt = {names}", pyproject.read_text())
    assert count == 1
    pyproject.write_text(text)


def test_package_that_debian_does_not_have_is_named(image: str, checkout: Path) -> None:
    with_packages(checkout, '["no-such-package"]')
    done = run(["make", "build", "RUNTIME=docker"], cwd=checkout)
    assert 'pyproject.toml, apt: "no-such-package" is no package of this Debian' in done.stderr
    assert "the cpu image could not be built (see above)" in done.stderr
    assert "Error 3" in done.stderr


@pytest.mark.soak
@pytest.mark.parametrize(("names", "count"), [("[]", 0), ('["libgl1"]', 1)])
def test_workspace_has_the_packages_of_pyproject_and_no_others(
    engine: docker.DockerClient, image: str, checkout: Path, names: str, count: int
) -> None:
    with_packages(checkout, names)
    done = run(["make", "build", "RUNTIME=docker"], cwd=checkout, timeout=600)
    assert done.returncode == 0, done.stderr
    made = done.stdout.split()[1]
    try:
        told = json.loads(run(["make", "--silent", "fingerprint", "RUNTIME=docker"], cwd=checkout).stdout)
        packages = told["same"]["os_packages"]
        assert [name.split(":")[0] for name in packages if name.startswith(("libgl1:", "g++", "nano"))] == [
            "libgl1"
        ] * count
        train = run(["make", "train", "RUNTIME=docker", "ARGS=--data synthetic --epochs 1"], cwd=checkout)
        assert train.returncode == 0, train.stderr
    finally:
        engine.images.remove(made)
