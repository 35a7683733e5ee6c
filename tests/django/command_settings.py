"""The project's settings, with the timers that a test names."""

import json
import os

from django_project.settings import *  # noqa: F403

TIME_ZONE = "Europe/Berlin"
TIMERS = json.loads(os.environ["TIMERS_TEST_SETTING"])
