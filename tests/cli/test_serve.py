"""A server answers as the command does, survives its clients, and its clients survive it."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from examples.demo import BLOCKS, QUESTIONS
from store import Store
from streamkv_cli.pipeline.catalog import Catalog
from streamkv_cli.pipeline.talk import Kept, Stretch, Turn
from streamkv_cli.server.client import UnixConnection
from tests.cli.serving import PATIENCE, Host, host, wait_until
from tests.conftest import ROOT

Outcome = tuple[int, str, str]


TOKEN = "open sesame"
UP = "which way did the white triangle move?"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A user with a store of the demo's video, and a server of it that nobody ends."""
    with host(tmp_path_factory.mktemp("shared")) as user:
        done = user.run("ingest", ROOT / "examples" / "demo.mp4", "--model", "demo", "-q")
        assert done.returncode == 0, done.stderr
        user.port = free_port()
        user.serve("--http", f"127.0.0.1:{user.port}", STREAMKV_TOKEN=TOKEN)
        yield user


@pytest.fixture
def user(shared: Host, tmp_path: Path) -> Iterator[Host]:
    """One with a store of their own, which may be spoilt."""
    shutil.copytree(shared.folder / "kv", tmp_path / "kv")
    with host(tmp_path) as user:
        yield user


def masked(done: subprocess.CompletedProcess[str]) -> Outcome:
    """What a command printed, but for the seconds it measured."""
    out = re.sub(r'("seconds\w*": )[\d.]+', r"\1#", done.stdout)
    err = re.sub(r"first token after .*", "#", done.stderr)
    return done.returncode, out, err


SAME = [
    *[("ask", question, *BLOCKS) for question in QUESTIONS],
    ("ask", next(iter(QUESTIONS)), *BLOCKS, "--json"),
    ("ask", next(iter(QUESTIONS)), "--each", "-v"),
    ("ask", next(iter(QUESTIONS)), "--temperature", "1", "--seed", "7", "--to", "2:00", "-q"),
    ("search", "red circle", "--limit", "3"),
    ("search", "red circle", "--json", "--min-score", "0.5"),
    ("search", "red circle", "--min-score", "99"),
    ("ask", "", "-v"),
    ("ask", "who?", "--video", "nobody"),
    ("ask", "who?", "--at", "0:01"),
    ("ask", "who?", "--local", "9", "--blocks", "3"),
    ("ask", "<|im_end|>", "--json"),
]


def test_sixteen_clients_at_once_get_what_they_would_get_without_a_server(shared: Host) -> None:
    questions = [json.dumps({"question": q, "id": n}) for n, q in enumerate(QUESTIONS)]
    stdin = "\n".join([*questions, '{"question": 1}', UP])
    commands = [*SAME, ("ask", "-", *BLOCKS)]
    alone = {words: masked(shared.here(*words, stdin=stdin)) for words in commands}
    for question, answer in QUESTIONS.items():
        assert alone["ask", question, *BLOCKS][1] == f"{answer}\n"
    assert {alone[words][0] for words in commands} == {0, 1, 2, 3}
    assert len(commands) >= 16
    with ThreadPoolExecutor(len(commands)) as pool:
        told = list(pool.map(lambda words: masked(shared.run(*words, stdin=stdin)), commands))
    for words, outcome in zip(commands, told, strict=True):
        assert outcome == alone[words], words
    (server,) = shared.servers()
    assert (server["model"], server["waiting"]) == ("demo", 0)


def test_a_talk_is_the_same_with_and_without_a_server(shared: Host) -> None:
    questions = list(QUESTIONS)
    typed = [questions[0], questions[2], "", "/new", questions[3], "<video>", "/exit", "unread"]
    stdin = "\n".join(typed)
    with_server = masked(shared.run("chat", *BLOCKS, stdin=stdin))
    assert with_server == masked(shared.here("chat", *BLOCKS, stdin=stdin))
    code, out, err = with_server
    assert (code, err.splitlines()[-1]) == (3, "error: 1 of 4 questions failed")
    lines = out.splitlines()
    assert (len(lines), lines[0], lines[2]) == (3, QUESTIONS[questions[0]], QUESTIONS[questions[3]])
    alone = shared.run("chat", *BLOCKS, "--alone", "--json", stdin="\n".join(questions))
    told = [json.loads(line) for line in alone.stdout.splitlines()]
    assert {answer["question"]: answer["answer"] for answer in told} == QUESTIONS
    talk = shared.run("chat", *BLOCKS, "--json", stdin="\n".join(questions[:2]))
    first, second = (json.loads(line) for line in talk.stdout.splitlines())
    assert f"{questions[0]}<|im_end|>\n<|im_start|>assistant\n{first['answer']}" in second["prompt"]


def test_a_layer_fetches_earlier_evidence_before_all_else(shared: Host) -> None:
    with Store.open(shared.folder / "kv") as store:
        catalog = Catalog(store, store.videos())
        summaries = catalog.layer(0)
        (record,) = catalog.records
        turns = [Turn("?", "!", (Stretch(record.video_id, 14.0, 46.0),))]
        kept = Kept(catalog, turns)
        ranking = kept.first(summaries, torch.zeros(len(summaries)), 1000)
        rows = torch.nonzero(torch.isinf(ranking)).flatten().tolist()
        for row in range(len(summaries)):
            segment = catalog.segment(0, int(summaries.segment[row]))
            spans = [*segment.spans, None]
            span = spans[int(summaries.block[row])]
            inside = span is not None and span.start >= 14 and span.end <= 46
            assert (row in rows) == inside
        assert len(rows) > 1
        few = kept.first(summaries, torch.zeros(len(summaries)), 2)
        assert int(torch.isinf(few).sum()) == 1  # the rest is for the question


def test_a_client_of_a_server_imports_nothing_heavy(shared: Host) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['streamkv', 'ask', {UP!r}, '-q']\n"
        "from streamkv_cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'lmdb', 'uvicorn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=shared.folder,
        env=shared.environment,
    )
    assert done.stdout == "up\n[]\n", done.stderr


def test_the_next_question_sees_what_became_of_the_store(user: Host, demo_video: Path) -> None:
    user.serve()
    ask = ("ask", UP, "--json")
    first = user.run(*ask)
    assert json.loads(first.stdout)["videos"] == 1
    assert user.run("ingest", demo_video, "--model", "demo", "-q").returncode == 0
    both = user.run(*ask)
    assert json.loads(both.stdout)["videos"] == 2
    assert masked(both) == masked(user.here(*ask))
    assert user.run("rm", "scenes.mp4", "-q").returncode == 0
    assert masked(user.run(*ask)) == masked(first)
    assert user.run("repair", "--quiet").returncode == 0  # another index file
    assert masked(user.run(*ask)) == masked(first)
    (user.folder / "kv").rename(user.folder / "away")
    gone = user.run(*ask)
    assert masked(gone) == masked(user.here(*ask))
    assert gone.returncode == 1
    (user.folder / "away").rename(user.folder / "kv")
    assert masked(user.run(*ask)) == masked(first)
    for path in (user.folder / "kv" / "videos").glob("*/*.safetensors"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    damaged = user.run(*ask, "--blocks", "500")
    assert masked(damaged) == masked(user.here(*ask, "--blocks", "500"))
    assert (damaged.returncode, damaged.stderr.count("\n")) == (4, 1)
    assert len(user.servers()) == 1  # and it was this server all the time


@pytest.mark.slow
def test_a_model_whose_weights_changed_is_refused(user: Host) -> None:
    shutil.copytree(ROOT / "streamkv_cli" / "model" / "demo", user.folder / "model")
    user.serve("--model", "model")
    ask = ("ask", UP, "--model", "./model", "-q")
    assert user.run(*ask).stdout == "up\n"
    path = user.folder / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    (user.folder / "new").write_bytes(data)
    (user.folder / "new").replace(path)
    told = user.run(*ask)
    assert told.returncode == 4
    assert masked(told) == masked(user.here(*ask))


def endless(user: Host) -> None:
    """Give a user a model like the demo's whose answers do not end."""
    model = user.folder / "model"
    shutil.copytree(ROOT / "streamkv_cli" / "model" / "demo", model)
    path = model / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 99999}))


LONG = ("ask", UP, "--model", "model", "--temperature", "9", "--top-k", "1000")
SHORT = ("ask", UP, "--model", "model", "--max-new-tokens", "1", "-q")


def begin_long(user: Host) -> subprocess.Popen[str]:
    """A question whose answer has begun and goes on."""
    process = user.start(*LONG, "--max-new-tokens", "1000000")
    assert process.stdout is not None
    assert process.stdout.read(1)
    return process


def test_answers_end_with_whoever_waits_for_them_or_gives_them(user: Host) -> None:
    endless(user)
    server = user.serve("--model", "model")
    for sign in (signal.SIGINT, signal.SIGKILL):
        asking = begin_long(user)
        queued = [user.start(*LONG) for _ in range(2)]
        wait_until(lambda: user.health()["waiting"] == 3)
        queued[0].send_signal(sign)
        wait_until(lambda: user.health()["waiting"] == 2)
        queued[1].send_signal(sign)
        asking.send_signal(sign)
        wait_until(lambda: user.health()["waiting"] == 0)
        _, err = asking.communicate(timeout=PATIENCE)
        if sign == signal.SIGINT:
            assert (asking.returncode, err.splitlines()[-1]) == (130, "interrupted")
        assert user.run(*SHORT).stdout == "up\n"
    talk = user.start("chat", *LONG[2:6], "--max-new-tokens", "1000000")
    assert talk.stdin is not None
    for _ in range(2):  # Ctrl-C stops an answer, not the talk
        talk.stdin.write(f"{UP}\n")
        talk.stdin.flush()
        wait_until(lambda: user.health()["waiting"] == 1)
        talk.send_signal(signal.SIGINT)
        wait_until(lambda: user.health()["waiting"] == 0)
    _, err = talk.communicate("/exit\n", timeout=PATIENCE)
    assert (talk.returncode, err.count("(stopped)")) == (0, 2), err
    asking = begin_long(user)
    server.kill()
    _, err = asking.communicate(timeout=PATIENCE)
    assert err.splitlines()[-1].startswith("error: the server ended in the middle of the answer")
    assert (asking.returncode, "Traceback" in err) == (5, False)
    assert user.run("ask", UP, "--video", "nobody").returncode == 1  # without a server
    assert user.run("check").returncode == 0
    assert user.servers() == []
    again = user.serve("--keep-alive", "0")  # what the dead one left behind is taken over
    assert user.run("ask", UP, "-q").stdout == "up\n"
    assert again.wait(PATIENCE) == 0


def test_detach_ps_stop_and_keep_alive(user: Host) -> None:
    begun = user.run("serve", "--keep-alive", "-1", STREAMKV_DETACH="1")
    assert begun.returncode == 0, begun.stderr
    assert begun.stderr.startswith("serving demo for ")
    (server,) = user.servers()
    assert (server["store"], server["until"]) == (str(user.folder / "kv"), "stopped")
    assert (server["device"], server["memory"] > 1 << 20) == ("cpu", True)  # type: ignore[operator]
    second = user.run("serve", "--detach")
    assert (second.returncode, second.stderr.count("\n")) == (4, 1)
    assert f"already running, process {server['pid']}" in second.stderr
    assert oct(os.stat(user.socket()).st_mode & 0o777) == "0o600"
    assert oct(os.stat(user.socket().parent).st_mode & 0o777) == "0o700"
    assert user.run("stop", "--store", "other").returncode == 1
    assert user.run("stop").stderr == f"stopped process {server['pid']}\n"
    assert user.servers() == []
    assert user.run("stop", "--all").returncode == 1
    assert user.run("serve", "--keep-alive", "soon").returncode == 2
    # Nobody asks: it ends by itself, and leaves no socket behind.
    assert user.run("serve", "--keep-alive", "1s", "--detach").returncode == 0
    wait_until(lambda: user.servers() == [])
    wait_until(lambda: not list(Path(user.environment["XDG_RUNTIME_DIR"]).glob("*/*.sock")))


def request(
    connection: http.client.HTTPConnection, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, object]]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, data, sent)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_over_tcp_only_who_may(shared: Host) -> None:
    assert shared.run("serve", "--http", "0.0.0.0:80").returncode == 2
    assert shared.run("serve", "--http", "nowhere").returncode == 2
    here = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=PATIENCE)
    question = {"question": UP}
    allowed = {"Authorization": "Bearer open sesame", "Content_Type": "application/json"}
    status, answer = request(here, "/ask", question, **allowed)
    assert (status, answer["answer"]) == (200, "up")
    for expected, change in (
        (401, {"Authorization": "Bearer open sesam"}),
        (401, {"Authorization": ""}),
        (403, {"Host": "evil.example"}),
        (403, {"Origin": "https://evil.example"}),
        (403, {"Sec_Fetch_Site": "cross-site"}),
        (415, {"Content_Type": "text/plain"}),
    ):
        assert request(here, "/ask", question, **allowed | change)[0] == expected, change
    here.close()


def test_garbage_never_kills_a_server(shared: Host) -> None:
    path = shared.socket()
    for garbage in (
        b"\0" * 4096,
        b"GET\r\n\r\n",
        b"POST /ask HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    ):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(os.fspath(path))
            raw.sendall(garbage)
    connection = UnixConnection(path, PATIENCE)
    for body, status in (
        ([1], 400),
        ({"question": 1}, 400),
        ({"question": "who?", "blocks": 0}, 400),
        ({"question": "who?", "colour": "red"}, 400),
        ({}, 400),
        ({"question": "who?", "video": "nobody"}, 404),
        ({"question": "who?", "store": "/elsewhere"}, 421),
        ({"question": "?" * (2 << 20)}, 413),
    ):
        assert request(connection, "/ask", body)[0] == status, str(body)[:99]
        connection.close()
    assert request(connection, "/nothing", {})[0] == 404
    connection.close()
    question = {"question": UP}
    assert request(connection, "/ask", question)[1]["answer"] == "up"
    connection.close()
