"""Fixtures of the tests with Django: a project, its databases, and its timers."""

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from front_ends import Home

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

_folder = tempfile.TemporaryDirectory(prefix="timers-django-")
os.environ["TIMERS_TEST_DATABASES"] = _folder.name
os.environ["DJANGO_SETTINGS_MODULE"] = "django_project.settings"

import django  # noqa: E402  the settings need the folder

django.setup()

from admin_pages import Visitor  # noqa: E402  models need a project
from django.contrib.auth.models import Permission, User  # noqa: E402  as above
from django.contrib.sessions.models import Session  # noqa: E402  as above
from django.core.management import call_command  # noqa: E402  as above
from django.db import connections  # noqa: E402
from django.test import Client, SimpleTestCase, override_settings  # noqa: E402
from django_project.models import Invoice  # noqa: E402

from examples.embedded_server import embedded_server  # noqa: E402  as above
from faststream_redis_timers_sync.django import get_client  # noqa: E402


class CountingRedis(redis.Redis):
    """A client that notes what its pipelines send: the ids, pipeline by pipeline."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.sent = []

    def pipeline(self, *args, **options):
        pipeline = super().pipeline(*args, **options)
        execute = pipeline.execute

        def noted_execute(*args, **options):
            self.sent.append([_id_in(words) for words, _ in pipeline.command_stack])
            return execute(*args, **options)

        pipeline.execute = noted_execute
        return pipeline


def _id_in(words):
    # After the keys comes that of attempts. A cancel has the id alone, scheduling a word before.
    args = words[3 + int(words[2]) + 1 :]
    return args[0 if len(args) == 1 else 1].decode()


@pytest.fixture(scope="session", autouse=True)
def _tables():
    for alias in connections:
        call_command("migrate", run_syncdb=True, database=alias, verbosity=0)
    connections.close_all()
    yield
    _folder.cleanup()


@pytest.fixture(autouse=True)
def _empty_tables(request):
    yield
    # Django's own test cases look after their transactions themselves.
    if not isinstance(request.instance, SimpleTestCase):
        for alias in connections:
            Invoice.objects.using(alias).all().delete()
        connections.close_all()


@pytest.fixture
def key_settings(key_names):
    """The key names of one test, as settings."""
    return {name.upper(): value for name, value in key_names.items()}


@pytest.fixture
def counting(server_url):
    """A client that notes what its pipelines send."""
    with CountingRedis.from_url(server_url) as client:
        yield client


@pytest.fixture
def timers(counting, key_settings):
    """The default client, whose pipelines are noted in `counting`."""
    with override_settings(TIMERS={"default": {"CLIENT": lambda: counting, **key_settings}}):
        yield get_client()


@pytest.fixture
def manage():
    """Run manage.py as a process."""

    def run(*words, **env):
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "django", *words],
            cwd=HERE,
            env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}", **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def here(key_names, server_url):
    """The keys of one test, with the means to claim timers as a worker does."""
    home = Home(key_names, server_url)
    yield home
    home.redis.close()


@pytest.fixture(scope="session")
def own_url():
    """The URL of a server that these tests may change and look into."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture
def users():
    """Make members of the staff, each with some of the timers' permissions."""

    def make(*granted, **properties):
        name = f"user-{uuid4().hex}"
        user = User.objects.create_user(name, password=name, is_staff=True, **properties)
        codes = [f"{permission}_timer" for permission in granted]
        user.user_permissions.set(Permission.objects.filter(codename__in=codes))
        return user

    yield make
    # The admin's log goes with them.
    User.objects.all().delete()
    Session.objects.all().delete()
    connections.close_all()


@pytest.fixture
def visitor(users):
    """Somebody who may do everything in the admin."""
    client = Client()
    client.force_login(users(is_superuser=True))
    return Visitor(client)


@pytest.fixture
def invoices(timers):
    """The client, with timers a, b, c and two others in a topic."""
    for timer_id in ("a", "b", "c", "other-1", "other-2"):
        due = datetime(2099, 6, 1, 9, tzinfo=UTC)
        timers.schedule("x", "invoices", timer_id=timer_id, activate_at=due)
    return timers
