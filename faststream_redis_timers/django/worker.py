"""FastStream's ``run`` with Django set up; ``manage.py timers_worker`` executes it.

FastStream's child processes, those of ``--workers`` and ``--reload``, first import the
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
    # Only the command: within its group its help would call it "manage.py run".
    group.commands["run"].main(prog_name="manage.py timers_worker")
