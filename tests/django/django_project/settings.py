"""Its settings: two databases, each a file."""

import os
from pathlib import Path

_FOLDER = Path(os.environ["TIMERS_TEST_DATABASES"])
_DATABASE = {
    # SQLite, with a health check that looks.
    "ENGINE": "django_project.killable",
    "OPTIONS": {"timeout": 60},
}

SECRET_KEY = "not secret"  # noqa: S105  it protects nothing
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django_project", "faststream_redis_timers_sync.django"]
ROOT_URLCONF = "django_project.urls"
DATABASES = {
    "default": {**_DATABASE, "NAME": _FOLDER / "default.sqlite3"},
    "other": {**_DATABASE, "NAME": _FOLDER / "other.sqlite3"},
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
TIME_ZONE = "UTC"
# pytest shows what is logged.
LOGGING_CONFIG = None
TIMERS = {"default": {"URL": os.environ.get("TIMERS_TEST_URL", "redis://localhost:1/0")}}
