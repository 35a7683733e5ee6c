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
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_project",
    "faststream_redis_timers_sync.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
# Fast, and as good as any for these.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
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
# Django looks at it from version 6 on.
TASKS = {
    "default": {
        "BACKEND": "faststream_redis_timers_sync.django.tasks.TimersBackend",
        "QUEUES": ["default", "slow"],
    }
}
