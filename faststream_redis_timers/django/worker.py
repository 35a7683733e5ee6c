"""FastStream's ``run`` with Django set up: what ``manage.py timers_worker`` becomes.

FastStream's child processes, those of ``--workers`` and ``--reload``, begin by importing the
main module of their parent. That is this one, so Django is set up there too.
"""

from typing import Any

import django
from django.apps import apps

if not apps.ready:
    django.setup()

if __name__ == "__main__":
    from faststream.__main__ import cli  # type: ignore[attr-defined]  # its program's entry point
    from typer.main import get_command

    group: Any = get_command(cli)
    # The command alone: as one of a group it would be called "manage.py run" in its help.
    group.commands["run"].main(prog_name="manage.py timers_worker")
