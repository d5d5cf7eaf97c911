"""The server as its clients meet it: a process of its own, asked over HTTP."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samebench.core.local_server import EVERYWHERE
from samebench.host.image import server_sources
from samebench.serving.artifact import Artifact
from samebench.serving.page import SOURCE
from samebench.serving.upload import BODY_BYTES, FILES
from samebench.tasks.image_classification.image_transform import NOTHING
from tests import commands
from tests.commands import call
from tests.samebench.checkout import ROOT
from tiny.serving import SERVING

from .conftest import PNG, Reply, Server, encoded, end, form, probabilities, start

FOREIGN = {"content-type": "application/x-www-form-urlencoded"}


def test_pictures_are_answered_as_the_artifact_answers(
    server: Server, artifact: Artifact, images: NDArray[np.uint8]
) -> None:
    expected = probabilities(artifact, images[:40])
    for image, row in zip(images, expected, strict=False):
        reply = server.predict(encoded(image))
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        answer = reply.json()
        assert answer["category"] == artifact.spec["labels"][row.argmax()]
        assert answer["confidence"] == pytest.approx(row.max(), abs=1e-5)
        assert list(answer["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-5)
        assert list(answer) == ["category", "confidence", "probabilities", "warnings"]


def test_a_form_is_answered_by_a_list_in_its_order(server: Server, images: NDArray[np.uint8]) -> None:
    singly = [server.predict(encoded(image)).json() for image in images[:FILES]]
    reply = server.predict(*form(*(encoded(image) for image in images[:FILES])))
    assert [each["category"] for each in reply.json()] == [each["category"] for each in singly]
    assert isinstance(server.predict(*form(encoded(images[0]))).json(), list)


def test_probabilities_have_six_digits_and_a_form_of_32_changes_none(server: Server, images: NDArray[np.uint8]) -> None:
    singly = [server.predict(encoded(image)).json() for image in images[:FILES]]
    assert server.predict(*form(*(encoded(image) for image in images[:FILES]))).json() == singly
    for answer in singly:
        for value in (answer["confidence"], *answer["probabilities"].values()):
            assert round(value, 6) == value
        assert answer["confidence"] == max(answer["probabilities"].values())


def test_of_several_pictures_the_one_that_cannot_be_read_is_named(server: Server, images: NDArray[np.uint8]) -> None:
    good = encoded(images[0])
    for bad, status in ((b"no picture", 415), (good[: len(good) // 2], 422), (good[:45] + b"x" + good[46:], 422)):
        for place in (1, 3):
            files = [good, good, good]
            files[place - 1] = bad
            answer = server.predict(*form(*files))
            said = answer.json()["detail"]
            assert (answer.status, said[:13]) == (status, f"file {place} of 3: ")
            assert server.predict(*form(bad)).json()["detail"] == said[13:]


def test_a_picture_in_a_form_needs_no_filename(server: Server, images: NDArray[np.uint8]) -> None:
    content, headers = form(encoded(images[0]))
    (answer,) = server.predict(content.replace(b'; filename="a.png"', b""), headers).json()
    assert answer["category"] == server.predict(encoded(images[0])).json()["category"]


def test_what_the_network_saw_is_told_who_asks(server: Server, images: NDArray[np.uint8]) -> None:
    seen = server.predict(encoded(images[0]), query="?seen").json()["seen"]
    assert seen.startswith("data:image/png;base64,")
    assert "seen" not in server.predict(encoded(images[0])).json()


def test_large_pictures_are_answered_while_small_ones_go_on(server: Server, images: NDArray[np.uint8]) -> None:
    large = encoded(Image.fromarray(255 - images[0]).resize((3000, 3000)).convert("RGB"), "JPEG")
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.predict(large).json()["category"])) for _ in "abcd"
    ]
    for thread in threads:
        thread.start()
    assert server.predict(encoded(images[0])).status == 200
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert len(answers) == 4


def test_a_doubtful_answer_says_so(server: Server, artifact: Artifact) -> None:
    blank = server.predict(encoded(Image.new("L", (60, 60), 255))).json()
    assert NOTHING in blank["warnings"]
    assert set(blank["warnings"]) <= set(SERVING.transform(artifact.spec).warnings)


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"", PNG, 400, "the body is empty"),
        (b"GIF89a", PNG, 415, "no PNG, JPEG or WebP"),
        (b"a=b", FOREIGN, 415, "content type application/x-www-form-urlencoded"),
        (b"{}", {"content-type": "application/json"}, 415, "content type application/json"),
        (encoded(Image.new("L", (50, 50)))[:60], PNG, 422, "a damaged picture"),
        (encoded(Image.new("1", (18_000, 18_000))), PNG, 413, "18000x18000 pixels, at most 300 million are read"),
        (b"\0" * (BODY_BYTES + 1), PNG, 413, "32000001 bytes, at most 32000000"),
        (b"nothing", {"content-type": "multipart/form-data; boundary=limit"}, 400, "the form can't be read"),
        (b"nothing", {"content-type": "multipart/form-data"}, 400, "the form can't be read"),
        (*form(), 400, "the form has no file"),
        (form(b"x", b"y")[0][:-11], form()[1], 400, "it is cut before its last boundary"),
        (*form(*[b"x"] * (FILES + 1)), 400, "more than 32 files or fields; send the others in another"),
        (*form(encoded(Image.new("L", (28, 28))), b"x"), 415, "no PNG, JPEG or WebP"),
        (form(b"x")[0], {"content-type": "multipart/form-data; charset=punycode; boundary=limit"}, 400, "is not utf-8"),
    ],
)
def test_what_is_wrong_is_said_as_a_problem(
    server: Server, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    reply = server.predict(body, headers)
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert (reply.status, problem["status"]) == (status, status), problem
    assert said in problem["detail"]
    assert "\n" not in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/x", 404), ("PUT", "/", 405)]
)
def test_other_addresses_and_methods_are_problems_too(server: Server, method: str, path: str, status: int) -> None:
    reply = server.ask(method, path)
    assert (reply.status, reply.json()["status"]) == (status, status)
    assert reply.headers["content-type"] == "application/problem+json"
    assert bool(reply.headers["allow"]) == (status == 405)


def test_a_body_without_an_end_is_cut_off_and_the_client_hears_why(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        sent, begun = 0, time.monotonic()
        with suppress(OSError):
            while time.monotonic() < begun + 20:
                client.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                sent += 0x10000
        assert sent > BODY_BYTES
        assert time.monotonic() - begun < 10
        assert re.match(rb"HTTP/1.1 413 .*more than 32000000 bytes", client.recv(65536), re.DOTALL)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_what_is_no_http_or_too_long_a_head_is_a_problem(server: Server) -> None:
    for sent, status in ((b"what?\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\na: " + b"b" * 40_000, b"431")):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(sent)
            assert re.match(rb"HTTP/1.1 %s .*application/problem\+json" % status, client.recv(65536), re.DOTALL)
        assert b'requests_total{path="none",status="%s"}' % status in server.ask("GET", "/metrics").body


def test_health_says_which_model_it_is(server: Server, artifact: Artifact) -> None:
    told = server.ask("GET", "/health").json()
    assert told["status"] == "ready"
    assert told["artifact_sha256"] == artifact.sha256
    assert told["image"] is None, "nobody has told it"
    assert {name: told[name] for name in ("run", "weights_sha256", "data_version", "locks")} == {
        name: artifact.facts[name] for name in ("run", "weights_sha256", "data_version", "locks")
    }


def test_metrics_count_what_was_answered(server: Server, images: NDArray[np.uint8]) -> None:
    def count(line: str) -> float:
        found = re.search(rf"^{re.escape(line)} (\S+)$", server.ask("GET", "/metrics").body.decode(), re.MULTILINE)
        return float(found[1]) if found else 0

    label = server.predict(encoded(images[0])).json()["category"]
    lines = ['tiny_requests_total{path="/predict",status="200"}', f'tiny_pictures_total{{category="{label}"}}']
    before = [count(line) for line in lines]
    server.predict(encoded(images[0]))
    server.ask("GET", "/secret")
    assert [count(line) for line in lines] == [value + 1 for value in before]
    assert b"secret" not in server.ask("GET", "/metrics").body


def test_openapi_tells_of_every_address_and_answers_are_as_it_says(server: Server, images: NDArray[np.uint8]) -> None:
    document = server.ask("GET", "/openapi.json").json()
    schema = {"$ref": "#/components/schemas/Answer", "components": document["components"]}
    jsonschema.validate(server.predict(encoded(images[0]), query="?seen").json(), schema)
    assert set(document["paths"]) == {"/", "/predict", "/health", "/metrics", "/openapi.json"}
    for path in set(document["paths"]) - {"/predict"}:
        reply = server.ask("GET", path)
        (kind,) = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert reply.headers["content-type"].split(";")[0] == kind


def test_the_page_asks_no_other_host_and_lets_no_other_script_run(server: Server) -> None:
    reply = server.ask("GET", "/")
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert re.findall(r"https?:|//[a-z]|@import| on[a-z]+=| style=", SOURCE.read_text()) == []
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_without_the_key_nothing_is_predicted(folder: Path, images: NDArray[np.uint8]) -> None:
    guarded = start(folder, API_KEY="open sesame")  # pragma: allowlist secret
    content = encoded(images[0])
    for key in ("", "Bearer ", "Bearer open", "open sesame", "Bearer open sesame!", "Basic open sesame"):
        reply = guarded.predict(content, PNG | {"authorization": key})
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    for scheme in ("Bearer", "bearer"):
        assert guarded.predict(content, PNG | {"authorization": f"{scheme} open sesame"}).status == 200
    assert guarded.ask("GET", "/health").status == 200
    assert "sesame" not in end(guarded)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HOST": EVERYWHERE}, "HOST=0.0.0.0: others could ask without a key; set API_KEY, or SERVE=without-a-key"),
        ({"SERVE": "yes"}, "SERVE=yes: give without-a-key, or nothing"),
        ({"PORT": "80"}, "PORT=80: give a number from 1024 to 65535"),
        ({"API_KEY": " a"}, "API_KEY: has spaces around it"),
        ({"ARTIFACT": "/nowhere"}, "/nowhere: no artifact there"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(
    folder: Path, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    done = call("-m", "samebench.serving", at=tmp_path, changes={"ARTIFACT": str(folder), **variables})
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_whoever_says_it_in_words_may_serve_all_without_a_key(folder: Path) -> None:
    open_to_all = start(folder, HOST=EVERYWHERE, SERVE="without-a-key")
    assert open_to_all.ask("GET", "/health").status == 200
    end(open_to_all)


def test_the_log_has_a_line_of_json_a_request_and_nothing_of_pictures(folder: Path, images: NDArray[np.uint8]) -> None:
    noted = start(folder)
    assert noted.predict(encoded(images[0]), PNG | {"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    other = noted.predict(encoded(images[0]), PNG | {"x-request-id": "a b\t"}).headers["x-request-id"]
    noted.ask("GET", "/nowhere?secret")
    noted.predict(form(b"x")[0].replace(b"Content", b'"', 1), form()[1])
    lines = [json.loads(line) for line in end(noted).splitlines()]
    assert [line["request"] for line in lines[:2]] == ["abc-1", other]
    assert re.fullmatch("[0-9a-f]{16}", other)
    assert [(line["path"], line["status"], line["examples"]) for line in lines] == [
        ("/predict", 200, 1),
        ("/predict", 200, 1),
        ("/nowhere", 404, 0),
        ("/predict", 400, 0),
    ]
    assert set(lines[0]) == {"time", "method", "path", "request", "status", "ms", "examples"}


def test_told_to_stop_it_finishes_what_it_has_and_takes_nothing_new(folder: Path, images: NDArray[np.uint8]) -> None:
    stopped = start(folder)
    assert stopped.process
    body, headers = form(*(encoded(image) for image in images[:FILES]))
    head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "content-length": str(len(body))}.items())
    with socket.create_connection(("127.0.0.1", stopped.port), timeout=20) as client:
        client.sendall(f"POST /predict HTTP/1.1\r\nhost: a\r\n{head}\r\n".encode() + body[:-100])
        time.sleep(0.2)  # it has the head and waits for the rest
        stopped.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        client.sendall(body[-100:])
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert stopped.process.wait(8) == 0
    end(stopped)


def test_told_to_stop_it_gives_up_what_would_take_longer(folder: Path) -> None:
    stopped = start(folder)
    assert stopped.process
    grey = encoded(Image.new("L", (4096, 4096), 128), "JPEG", progressive=True)
    scans = grey[grey.rindex(b"\xff\xda") : -2] * 85
    body, headers = form(*[grey[:-2] + scans + grey[-2:]] * FILES)
    answers: list[Reply] = []
    work = threading.Thread(target=lambda: answers.append(stopped.predict(body, headers)))
    work.start()
    time.sleep(0.5)
    begun = time.monotonic()
    end(stopped)
    assert time.monotonic() - begun < 10
    work.join()
    assert [(each.status, each.headers["retry-after"]) for each in answers] == [(503, "1")]


def test_neither_torch_nor_a_workspace_tool_is_loaded_to_serve(folder: Path, tmp_path: Path) -> None:
    line = "import tiny.serving, samebench.serving.application, samebench.serving.protocol, sys; print(*sys.modules)"
    loaded = set(call("-c", line, at=tmp_path).stdout.split())
    assert {"starlette", "PIL"} <= loaded
    assert loaded.isdisjoint({"torch", "onnx", "matplotlib", "jsonschema", "safetensors"})


def test_what_a_build_gets_of_the_sources_is_enough(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(commands.source().parent)
    for name in server_sources("tiny"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, tmp_path / name)
    changes = {"PYTHONPATH": str(tmp_path / "src"), "PROJECT": "tiny", "ARTIFACT": str(folder), "HOST": None}
    code = "import samebench.serving.application, samebench.serving.protocol; print(samebench.__path__)"
    assert call("-c", code, at=tmp_path, changes=changes).stdout == f"{[str(tmp_path / 'src/samebench')]}\n"
    lines = ["from pathlib import Path", "from samebench.serving.artifact import Artifact"]
    code = "; ".join([*lines, f"Artifact.load(Path({str(folder)!r})).check()"])
    done = call("-c", code, at=tmp_path, changes=changes)
    assert done.returncode == 0, done.stderr
    (tmp_path / "src/prices").mkdir()
    (tmp_path / "src/prices/__init__.py").touch()
    reasons = {"prices": "src/prices: has no serving.py, which this command needs; write one"}
    reasons |= {
        name: f"PROJECT={name}: src/{name} is no project; " for name in ("samebench", "nothing", "../src/prices")
    }
    for name, reason in reasons.items():
        done = call("-m", "samebench.serving", at=tmp_path, changes={**changes, "PROJECT": name})
        assert (done.returncode, reason in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr


def test_the_documents_lines_of_curl_are_answered(server: Server, images: NDArray[np.uint8], tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl here")
    (tmp_path / "shirt.jpg").write_bytes(encoded(images[0], "JPEG"))
    (tmp_path / "boot.png").write_bytes(encoded(images[1]))
    lines = [line for name in ("README.md", "docs/serving.md") for line in (ROOT / name).read_text().splitlines()]
    asked = [shlex.split(line.replace(":8000", f":{server.port}")) for line in lines if line.startswith("curl ")]
    answers = [
        json.loads(subprocess.run([*words, "--silent"], cwd=tmp_path, capture_output=True).stdout) for words in asked
    ]
    assert [len(answer) for answer in answers] == [4, 4, 2]


def test_verify_and_health_tell_by_exit_code(folder: Path, server: Server, tmp_path: Path) -> None:
    at = {"ARTIFACT": str(folder), "PORT": str(server.port)}
    checked = call("-m", "samebench.serving", "verify", at=tmp_path, changes=at | {"HOST": EVERYWHERE})
    assert (checked.returncode, "answers right, run" in checked.stdout) == (0, True)
    assert call("-m", "samebench.serving", "--health", at=tmp_path, changes=at).returncode == 0
    assert call("-m", "samebench.serving", "--health", at=tmp_path, changes=at | {"PORT": "1999"}).returncode == 1
