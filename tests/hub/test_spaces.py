"""Spaces that run: built when somebody asks, answering on loopback, ending with their Hub.

All but one run an app of the standard library in an environment that was made beforehand, which is what a Space finds
that asks for the same as another one before it. `test_a_gradio_space_runs` builds the real thing.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hala_release.localhub import building, daemon, git
from hala_release.localhub.building import COMPLETE
from hala_release.localhub.daemon import Running
from hala_release.localhub.starting import SHARED
from hala_release.localhub.store import prepare
from tests.hub.conftest import Ask, asker
from tests.hub.test_repositories import refused

Make = Callable[..., str]

GRADIO = "6.31.0"
PATIENCE = 60
LIGHT = "# an environment that was made before\n"
HEADER = "---\ntitle: Test\nsdk: gradio\nsdk_version: {version}\napp_file: app.py\n{more}---\n# Test\n"
APP = """\
import http.server, json, os, sys
print("said on stdout", flush=True)
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"word": WORD, "pid": os.getpid(), "env": dict(os.environ)}).encode())
    def log_message(self, *_):
        pass
WORD = "first"
port = int(os.environ["GRADIO_SERVER_PORT"])
http.server.ThreadingHTTPServer((os.environ["GRADIO_SERVER_NAME"], port), Answers).serve_forever()
"""
REAL = """\
import gradio as gr
def answer(word):
    return word[::-1]
gr.Interface(answer, "text", "text", api_name="turn").launch()
"""


def until(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:  # noqa: ANN401 - what it is asked for
    """What is true at last; a failure if it never is."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def made(shelf: Path, requirements: str) -> Path:
    """An environment for some requirements, made without pip; it sees huggingface_hub of these tests."""
    place = shelf / building.digest(GRADIO, platform.python_version(), {"requirements.txt": requirements})
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (place / "lib" / version / "site-packages" / "tests.pth").write_text(sysconfig.get_path("purelib"))
    (place / COMPLETE).touch()
    return place


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments that all Hubs of this module share."""
    place = tmp_path_factory.mktemp("environments")
    made(place, LIGHT)
    return place


@contextlib.contextmanager
def served(root: Path, shelf: Path) -> Iterator[Running]:
    """A Hub with the shared environments, and with the owner's token in its own environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SHARED, str(shelf))
        prepare(root)
        patch.setenv("HF_TOKEN", (root / "token").read_text().strip())
        hub = daemon.start(root)
    yield hub
    daemon.stop(root)


@pytest.fixture(scope="module")
def local_hub(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> Iterator[Running]:
    with served(tmp_path_factory.mktemp("spaces") / "root", shelf) as hub:
        yield hub


@pytest.fixture(scope="module")
def api(local_hub: Running) -> HfApi:
    return HfApi(endpoint=local_hub.url, token=local_hub.token)


@pytest.fixture(scope="module")
def ask(local_hub: Running) -> Ask:
    return asker(local_hub)


def commit(api: HfApi, repo: str, **files: str) -> str:
    """Put files into a Space; returns the commit."""
    from huggingface_hub import CommitOperationAdd

    names = {"README": "README.md", "app": "app.py", "requirements": "requirements.txt"}
    operations = [CommitOperationAdd(names.get(name, name), text.encode()) for name, text in files.items()]
    return str(api.create_commit(repo, operations, commit_message="files", repo_type="space").oid)


def filled(api: HfApi, repo: str, more: str = "", **files: str) -> str:
    """A Space with a card, an app and light requirements; returns its name."""
    api.create_repo(repo, repo_type="space", space_sdk="gradio")
    card = HEADER.format(version=GRADIO, more=more)
    commit(api, repo, **{"README": card, "app": APP, "requirements": LIGHT, **files})
    return repo


@pytest.fixture
def space(api: HfApi, name: str) -> Iterator[Make]:
    """Make a Space; whatever it does, it is stopped after the test."""

    def make(more: str = "", **files: str) -> str:
        return filled(api, name, more, **files)

    yield make
    with contextlib.suppress(HfHubHTTPError):
        api.pause_space(name)


def settled(api: HfApi, repo: str) -> dict[str, Any]:
    """The runtime after everything that is under way."""
    return dict(api.wait_for_space(repo, timeout=PATIENCE, poll_interval=0.05).raw)


def said(runtime: dict[str, Any], path: str = "/") -> Any:  # noqa: ANN401 - JSON
    """What the app of a runtime answers."""
    (domain,) = runtime["domains"]
    connection = http.client.HTTPConnection(domain["domain"], timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


def running(api: HfApi, repo: str) -> dict[str, Any]:
    """The runtime of a Space that was started."""
    api.restart_space(repo)
    runtime = settled(api, repo)
    assert runtime["stage"] == "RUNNING", runtime
    return runtime


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_space_rests_until_somebody_asks(api: HfApi, space: Make) -> None:
    repo = space()
    assert api.get_space_runtime(repo).stage == "PAUSED"
    api.upload_file(path_or_fileobj=b"more", path_in_repo="more.txt", repo_id=repo, repo_type="space")
    assert api.get_space_runtime(repo).stage == "PAUSED"
    assert api.space_info(repo).host is None
    begun = api.restart_space(repo)
    assert begun.stage == "BUILDING"
    runtime = settled(api, repo)
    info = api.space_info(repo)
    assert (runtime["stage"], runtime["sha"]) == ("RUNNING", info.sha)
    assert runtime["hardware"] == {"current": "cpu-basic", "requested": "cpu-basic"}
    assert info.host == f"http://{runtime['domains'][0]['domain']}"
    assert said(runtime)["word"] == "first"


def test_what_is_printed_can_be_read(api: HfApi, anonymous: HfApi, space: Make) -> None:
    repo = space()
    running(api, repo)
    built = "".join(api.fetch_space_logs(repo, build=True))
    assert "made before" in built
    assert "starting the app\n" in built
    assert "said on stdout\n" in list(api.fetch_space_logs(repo))
    with refused(401):
        list(anonymous.fetch_space_logs(repo))


def test_a_paused_space_ends(api: HfApi, space: Make) -> None:
    repo = space()
    pid = said(running(api, repo))["pid"]
    assert api.pause_space(repo).stage == "PAUSED"
    assert not alive(pid)
    assert api.space_info(repo).host is None


def test_a_commit_to_a_running_space_takes_over_when_it_answers(api: HfApi, space: Make) -> None:
    repo = space()
    before = running(api, repo)
    pid = said(before)["pid"]
    slow = APP.replace('"first"', '"second"').replace("import http", "import time\ntime.sleep(1)\nimport http", 1)
    oid = commit(api, repo, app=slow)
    until(lambda: api.get_space_runtime(repo).stage == "RUNNING_APP_STARTING")
    meanwhile = api.get_space_runtime(repo).raw
    assert meanwhile["sha"] == before["sha"]
    assert said(meanwhile)["word"] == "first"
    after = settled(api, repo)
    assert (after["stage"], after["sha"], said(after)["word"]) == ("RUNNING", oid, "second")
    until(lambda: not alive(pid))


def test_a_commit_that_cannot_run_ends_the_one_before_and_the_next_one_is_built(api: HfApi, space: Make) -> None:
    repo = space()
    pid = said(running(api, repo))["pid"]
    broken = commit(api, repo, app="raise SystemExit('no luck today')")
    failed = settled(api, repo)
    assert (failed["stage"], failed["sha"]) == ("RUNTIME_ERROR", broken)
    assert "Exit code: 1" in failed["errorMessage"]
    assert "no luck today" in failed["errorMessage"]
    until(lambda: not alive(pid))
    mended = commit(api, repo, app=APP)
    assert settled(api, repo)["sha"] == mended
    assert api.get_space_runtime(repo).stage == "RUNNING"


def test_an_app_that_ends_by_itself_is_an_error(api: HfApi, space: Make) -> None:
    repo = space()
    os.kill(said(running(api, repo))["pid"], signal.SIGKILL)
    until(lambda: api.get_space_runtime(repo).stage == "RUNTIME_ERROR")
    assert "Ended by signal 9" in api.get_space_runtime(repo).raw["errorMessage"]


def test_an_app_that_never_answers_is_given_up(api: HfApi, space: Make) -> None:
    repo = space("startup_duration_timeout: 1s\n", app="import time\ntime.sleep(600)\n")
    api.restart_space(repo)
    assert "did not answer within 1 seconds" in settled(api, repo)["errorMessage"]


def test_a_build_that_fails_shows_the_words_of_pip(api: HfApi, space: Make) -> None:
    repo = space(requirements="what is this!\n")
    api.restart_space(repo)
    failed = settled(api, repo)
    assert failed["stage"] == "BUILD_ERROR"
    assert "ERROR: Invalid requirement: 'what is this!'" in failed["errorMessage"]
    assert "ERROR: Invalid requirement" in "".join(api.fetch_space_logs(repo, build=True))


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("---\nsdk: gradio\n---\n", "sdk_version"),
        ("---\nsdk: gradio\nsdk_version: -r /etc/passwd\n---\n", "no version"),
        ("---\nsdk: gradio\nsdk_version: 6.31.0\napp_file: ../app.py\n---\n", "app_file"),
        ("---\nsdk: gradio\nsdk_version: 6.31.0\npreload_from_hub: [a/b c d]\n---\n", "40 digits"),
        ("---\nsdk: gradio\nsdk_version: 6.31.0\nstartup_duration_timeout: soon\n---\n", "a time like 30m"),
        ("---\nsdk: [\n---\n", "cannot be read"),
    ],
)
def test_a_card_that_does_not_say_how_to_run_is_named(ask: Ask, api: HfApi, space: Make, card: str, words: str) -> None:
    repo = space()
    file = {"key": "file", "value": {"path": "README.md", "content": card, "encoding": "utf-8"}}
    body = "\n".join(json.dumps(line) for line in ({"key": "header", "value": {"summary": "odd"}}, file))
    assert ask("POST", f"/api/spaces/{repo}/commit/main", body.encode()).status == 200
    api.restart_space(repo)
    failed = settled(api, repo)
    assert failed["stage"] == "CONFIG_ERROR"
    assert words in failed["errorMessage"]


def test_without_an_app_file_there_is_nothing_to_run(api: HfApi, space: Make) -> None:
    repo = space("app_file: other.py\n".replace("app_file", "# app_file"))
    api.delete_file("app.py", repo, repo_type="space")
    assert api.get_space_runtime(repo).stage == "NO_APP_FILE"
    api.restart_space(repo)
    assert settled(api, repo)["stage"] == "NO_APP_FILE"
    commit(api, repo, app=APP)
    assert settled(api, repo)["stage"] == "RUNNING"


def test_an_app_sees_what_the_hub_lists_and_nothing_of_ours(api: HfApi, local_hub: Running, space: Make) -> None:
    repo = space()
    api.add_space_variable(repo, "GREETING", "hello")
    seen = said(running(api, repo))["env"]
    ours = {"PATH", "LANG", "HOME", "HF_HOME", "HF_ENDPOINT", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "NO_PROXY"}
    ours |= {"PYTHONUNBUFFERED", "GRADIO_ANALYTICS_ENABLED", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "GREETING"}
    spaces = {"SPACE_ID", "SPACE_AUTHOR_NAME", "SPACE_REPO_NAME", "SPACE_TITLE", "SPACE_HOST"}
    assert set(seen) - {"LC_CTYPE"} == ours | spaces
    assert (seen["SPACE_ID"], seen["SPACE_TITLE"], seen["GREETING"]) == (repo, "Test", "hello")
    assert (seen["HF_ENDPOINT"], seen["GRADIO_SERVER_NAME"]) == (local_hub.url, "127.0.0.1")
    assert Path(seen["HF_HOME"]).is_relative_to(local_hub.root)
    assert local_hub.token not in json.dumps(seen)


def test_a_secret_reaches_the_app_and_nobody_else(api: HfApi, ask: Ask, local_hub: Running, space: Make) -> None:
    repo = space()
    before = said(running(api, repo))
    api.add_space_secret(repo, "PASSWORD", "s3cret-value", description="for the test")
    after = said(settled(api, repo))
    assert (after["pid"] != before["pid"], after["env"]["PASSWORD"]) == (True, "s3cret-value")
    told = api.get_space_secrets(repo)
    assert (list(told), told["PASSWORD"].description) == (["PASSWORD"], "for the test")
    for address in (f"/api/spaces/{repo}/secrets", f"/api/spaces/{repo}", f"/api/spaces/{repo}/runtime"):
        assert b"s3cret-value" not in ask("GET", address).body
    assert (local_hub.root / "hub.db").stat().st_mode & 0o077 == 0
    api.delete_space_secret(repo, "PASSWORD")
    assert "PASSWORD" not in said(settled(api, repo))["env"]


def test_variables_are_kept_by_name(api: HfApi, ask: Ask, name: str) -> None:
    variables, secrets = [{"key": "A", "value": "1"}], [{"key": "S", "value": "2"}]
    api.create_repo(
        name,
        repo_type="space",
        space_sdk="gradio",
        space_variables=variables,
        space_secrets=secrets,
        space_hardware="cpu-basic",  # type: ignore[arg-type]
    )
    assert {key: each.value for key, each in api.get_space_variables(name).items()} == {"A": "1"}
    assert list(api.get_space_secrets(name)) == ["S"]
    assert api.add_space_variable(name, "A", "3")["A"].value == "3"
    assert not api.delete_space_variable(name, "A")
    with refused(404):
        api.delete_space_variable(name, "A")
    for key, value in (("1A", "x"), ("A B", "x"), ("SYSTEM", "spaces"), ("GRADIO_SERVER_PORT", "80"), ("A", "\0")):
        assert ask("POST", f"/api/spaces/{name}/variables", {"key": key, "value": value}).status == 400


def test_a_name_that_is_a_variable_and_a_secret_is_a_collision(api: HfApi, space: Make) -> None:
    repo = space()
    api.add_space_variable(repo, "A", "1")
    api.add_space_secret(repo, "A", "2")
    api.restart_space(repo)
    assert settled(api, repo)["errorMessage"] == "Collision on variables and secrets names: A"


def test_who_may_only_read_starts_nothing(ask: Ask, local_hub: Running, space: Make) -> None:
    repo = space()
    token = ask("POST", "/_local/tokens", {"role": "read"}).json["token"]
    reader = HfApi(endpoint=local_hub.url, token=token)
    for refuse in (reader.restart_space, reader.pause_space, reader.get_space_secrets, reader.get_space_variables):
        with refused(403):
            refuse(repo)
    with refused(403):
        reader.add_space_secret(repo, "A", "1")
    assert ask("POST", f"/api/spaces/{repo}/restart", token=None).status == 401
    assert ask("POST", f"/spaces/{repo}/_run", token=token, Origin=local_hub.url).status == 403
    assert reader.get_space_runtime(repo).stage == "PAUSED"


def test_there_is_one_kind_of_hardware(api: HfApi, space: Make) -> None:
    repo = space()
    assert api.request_space_hardware(repo, "cpu-basic").requested_hardware == "cpu-basic"  # type: ignore[arg-type]
    with refused(400) as caught:
        api.request_space_hardware(repo, "t4-small")  # type: ignore[arg-type]
    assert "the computer that it runs on" in str(caught.value)


def test_the_button_of_the_page_starts_and_stops(api: HfApi, ask: Ask, local_hub: Running, space: Make) -> None:
    repo = space(app=APP.replace("import http", "import time\ntime.sleep(1)\nimport http", 1))
    page, run = f"/spaces/{repo}", f"/spaces/{repo}/_run"
    assert "Run it here" in ask("GET", page, token=None).body.decode()
    for origin in ({}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "https://example.org"}):
        assert ask("POST", run, token=None, **origin).status == 403
    assert api.get_space_runtime(repo).stage == "PAUSED"
    pressed = ask("POST", run, token=None, Origin=local_hub.url)
    assert (pressed.status, pressed.headers["location"]) == (303, page)
    building = ask("GET", page, token=None).body.decode()
    assert "http-equiv=refresh" in building
    until(lambda: f"building {repo} at " in ask("GET", page, token=None).body.decode())
    app = f"http://{settled(api, repo)['domains'][0]['domain']}"
    shown = ask("GET", page, token=None)
    assert f"<iframe title='The app of {repo}' src='{app}/'" in shown.body.decode()
    assert "http-equiv=refresh" not in shown.body.decode()
    policy = shown.headers["content-security-policy"]
    assert f"frame-src {app}" in policy
    assert "form-action 'self'" in policy
    assert ask("POST", f"/spaces/{repo}/_stop", token=None, Origin=app).status == 403
    assert ask("POST", f"/spaces/{repo}/_stop", token=None, Origin=local_hub.url).status == 303
    assert api.get_space_runtime(repo).stage == "PAUSED"


def test_a_private_space_is_started_by_its_owner_only(api: HfApi, ask: Ask, local_hub: Running, space: Make) -> None:
    repo = space()
    api.update_repo_settings(repo, private=True, repo_type="space")
    assert ask("POST", f"/spaces/{repo}/_run", token=None, Origin=local_hub.url).status == 401
    assert ask("POST", f"/spaces/{repo}/_run", Origin=local_hub.url).status == 303


def test_words_of_an_app_are_only_words_on_the_page(api: HfApi, ask: Ask, space: Make) -> None:
    repo = space(app="raise SystemExit('<script>alert(1)</script>')")
    api.restart_space(repo)
    settled(api, repo)
    shown = ask("GET", f"/spaces/{repo}").body.decode()
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script" not in shown


def test_docker_is_not_run_and_static_always_is(api: HfApi, ask: Ask, name: str) -> None:
    for sdk, file in (("docker", "Dockerfile"), ("static", "index.html")):
        repo = f"{name}-{sdk}"
        api.create_repo(repo, repo_type="space", space_sdk=sdk)
        oid = commit(api, repo, **{file: "x"})
        runtime = api.get_space_runtime(repo).raw
        answer = ask("POST", f"/api/spaces/{repo}/restart")
        if sdk == "docker":
            assert (runtime["stage"], answer.status) == ("PAUSED", 501)
            assert answer.headers["x-error-message"] == "This Hub does not run docker Spaces"
        else:
            assert (runtime["stage"], runtime["sha"], answer.status) == ("RUNNING", oid, 400)
        assert "Run it here" not in ask("GET", f"/spaces/{repo}").body.decode()


FOUND = APP.replace(
    'WORD = "first"', 'import glob\nWORD = glob.glob(os.environ["HF_HOME"] + "/hub/models--*/snapshots/*/*")'
)


def test_a_public_model_is_there_before_the_app_starts(api: HfApi, name: str, space: Make) -> None:
    api.create_repo(name)
    for path in ("config.json", "other.json"):
        api.upload_file(path_or_fileobj=b"{}", path_in_repo=path, repo_id=name)
    sha = str(api.model_info(name).sha)
    api.upload_file(path_or_fileobj=b"{1}", path_in_repo="config.json", repo_id=name)
    repo = space(f"preload_from_hub:\n- {name} config.json {sha}\n", app=FOUND)
    (found,) = said(running(api, repo))["word"]
    assert found.endswith(f"/snapshots/{sha}/config.json")


def test_a_private_model_cannot_be_preloaded(api: HfApi, name: str, space: Make) -> None:
    api.create_repo(name, private=True)
    repo = space(f"preload_from_hub: [{name}]\n")
    api.restart_space(repo)
    failed = settled(api, repo)
    assert failed["stage"] == "BUILD_ERROR"
    assert f"preload_from_hub: {name} could not be fetched" in failed["errorMessage"]


def test_large_files_are_whole_in_the_checkout(api: HfApi, space: Make) -> None:
    repo = space(app=APP.replace('"first"', 'len(open("in/weights.bin", "rb").read())'))
    api.upload_file(path_or_fileobj=b"w" * 300_000, path_in_repo="in/weights.bin", repo_id=repo, repo_type="space")
    assert said(running(api, repo))["word"] == 300_000


def planted(hub: Running, ask: Ask, repo: str, kept: str, *entries: tuple[str, str, bytes]) -> str:
    """Give a Space a head that no client could send: the file `kept` of the old one, and odd entries; the commit."""
    git_dir = hub.root / "repos" / f"{ask('GET', f'/api/spaces/{repo}').json['_id']}.git"

    def put(kind: str, content: bytes) -> bytes:
        written = git.run(git_dir, "hash-object", "-t", kind, "-w", "--literally", "--stdin", stdin=content)
        return bytes.fromhex(written.decode())

    tree = b""
    for name in kept.split():
        tree += f"100644 {name}\0".encode() + bytes.fromhex(git.check(git_dir, [f"main:{name}"])[0][0])  # type: ignore[index]
    for mode, name, content in entries:
        inside = put("tree", b"100644 evil.txt\0" + put("blob", content)) if mode == "40000" else put("blob", content)
        tree += f"{mode} {name}\0".encode() + inside
    head = git.run(git_dir, "commit-tree", "-m", "planted", put("tree", tree).hex()).decode().strip()
    git.run(git_dir, "update-ref", "refs/heads/main", head)
    return head


@pytest.mark.parametrize(
    ("mode", "path"), [("40000", ".."), ("100644", "../evil.txt"), ("100644", "/evil.txt"), ("40000", ".git")]
)
def test_hostile_names_do_not_leave_the_checkout(
    api: HfApi, ask: Ask, local_hub: Running, space: Make, mode: str, path: str
) -> None:
    repo = space()
    planted(local_hub, ask, repo, "README.md app.py requirements.txt", (mode, path, b"evil"))
    api.restart_space(repo)
    failed = settled(api, repo)
    assert failed["stage"] == "BUILD_ERROR"
    assert "is not a valid path in a repository" in failed["errorMessage"]
    assert not list(local_hub.root.rglob("evil.txt"))


def test_links_are_left_out_and_nothing_is_written_through_them(
    api: HfApi, ask: Ask, local_hub: Running, space: Make, tmp_path: Path
) -> None:
    repo = space()
    kept = "README.md app.py requirements.txt"
    planted(local_hub, ask, repo, kept, ("120000", "way", str(tmp_path).encode()), ("40000", "way", b"evil"))
    running(api, repo)
    assert "way is left out: it is a link" in "".join(api.fetch_space_logs(repo, build=True))
    assert not list(tmp_path.iterdir())


def test_of_many_asks_at_once_one_app_runs(api: HfApi, space: Make) -> None:
    repo = space()
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(api.restart_space, [repo] * 6))
        last = commit(api, repo, more="x")
        list(threads.map(api.restart_space, [repo] * 6))
    runtime = settled(api, repo)
    assert (runtime["stage"], runtime["sha"]) == ("RUNNING", last)
    seen = said(runtime)
    place = Path(seen["env"]["HOME"]).parent
    until(
        lambda: [path.name for path in place.glob("?" * 40 + "*")] == [Path(f"/proc/{seen['pid']}/cwd").readlink().name]
    )
    assert len(of_space(repo)) == 1


def of_space(repo: str) -> list[int]:
    """The processes that were started for a Space."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"\0SPACE_ID={repo}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


PARENT = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n" + APP


def test_what_an_app_started_ends_with_it(api: HfApi, space: Make) -> None:
    repo = space(app=PARENT)
    running(api, repo)
    assert len(of_space(repo)) == 2
    api.pause_space(repo)
    until(lambda: not of_space(repo), 10)


def test_a_deleted_or_renamed_space_stops(api: HfApi, space: Make) -> None:
    repo = space()
    home = Path(said(running(api, repo))["env"]["HOME"])
    api.move_repo(repo, f"{repo}-moved", repo_type="space")
    assert api.get_space_runtime(repo).stage == "PAUSED"
    assert not of_space(repo)
    running(api, f"{repo}-moved")
    api.delete_repo(f"{repo}-moved", repo_type="space")
    assert not of_space(f"{repo}-moved")
    assert not home.parent.exists()


def test_a_python_that_is_not_here_is_replaced_and_named(api: HfApi, space: Make) -> None:
    repo = space("python_version: '3.99'\n")
    running(api, repo)
    built = "".join(api.fetch_space_logs(repo, build=True))
    assert f"there is no Python 3.99 here, so Python {platform.python_version()} is used" in built


def test_of_what_an_app_prints_the_last_megabyte_is_kept(api: HfApi, space: Make) -> None:
    loud = "for n in range(40_000):\n    print(n, 'x' * 90)\n" + APP
    repo = space(app=loud)
    place = Path(said(running(api, repo))["env"]["HOME"]).parent
    assert (place / "run.log").stat().st_size < 3 << 20
    assert (place / "run.log").stat().st_mode & 0o077 == 0
    kept = list(api.fetch_space_logs(repo))
    assert kept[-1] == "said on stdout\n"
    assert 5_000 < len(kept) < 20_000


@pytest.mark.parametrize("how", ["kill -9", "stop"])
def test_no_app_outlives_its_hub(tmp_path: Path, shelf: Path, how: str) -> None:
    with served(tmp_path / "root", shelf) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        filled(api, "acme/short", app=PARENT)
        running(api, "acme/short")
        processes = of_space("acme/short")
        assert len(processes) == 2
        if how == "stop":
            daemon.stop(hub.root)
            assert not any(map(alive, processes))
        else:
            os.kill(hub.pid, signal.SIGKILL)
            until(lambda: not any(map(alive, processes)), 10)
    with served(hub.root, shelf) as again:
        assert HfApi(endpoint=again.url, token=again.token).get_space_runtime("acme/short").stage == "PAUSED"


def test_who_follows_a_log_is_told_that_the_hub_ends(tmp_path: Path, shelf: Path) -> None:
    with served(tmp_path / "root", shelf) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        filled(api, "acme/followed")
        running(api, "acme/followed")
        with ThreadPoolExecutor(1) as threads:
            followed = threads.submit(lambda: list(api.fetch_space_logs("acme/followed", follow=True)))
            time.sleep(0.5)
            daemon.stop(hub.root)
            assert followed.result(timeout=10) == ["said on stdout\n"]
        assert "Traceback" not in (hub.root / daemon.LOG).read_text()


def test_a_gradio_space_runs(api: HfApi, shelf: Path, space: Make) -> None:
    """The real thing, which takes a minute: pip installs gradio, gradio answers, a factory restart does it again."""
    asked = "# nothing but gradio\n"
    begun = shelf / building.digest(GRADIO, platform.python_version(), {"requirements.txt": asked})
    begun.mkdir()
    (begun / "half").write_text("left by a Hub that was killed")
    repo = space(app=REAL, requirements=asked)
    api.restart_space(repo)
    runtime = dict(api.wait_for_space(repo, timeout=280, poll_interval=0.5).raw)
    assert runtime["stage"] == "RUNNING", runtime
    assert (begun / COMPLETE).exists()
    assert not (begun / "half").exists()
    event = asked_gradio(runtime, "POST", "/gradio_api/call/turn", json.dumps({"data": ["hala"]}))
    assert '["alah"]' in asked_gradio(runtime, "GET", f"/gradio_api/call/turn/{json.loads(event)['event_id']}")
    assert api.restart_space(repo, factory_reboot=True).stage == "RUNNING_BUILDING"
    again = dict(api.wait_for_space(repo, timeout=280, poll_interval=0.5).raw)
    assert (again["stage"], again["domains"] != runtime["domains"]) == ("RUNNING", True)
    assert len(list(shelf.glob(f"{begun.name}*/{COMPLETE}"))) == 2


def asked_gradio(runtime: dict[str, Any], method: str, path: str, body: str | None = None) -> str:
    """What the app answers to a call of gradio's own API."""
    connection = http.client.HTTPConnection(runtime["domains"][0]["domain"], timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read().decode()
