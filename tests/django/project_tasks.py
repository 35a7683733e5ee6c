"""Tasks of the project; Django 6 or newer."""

import asyncio
import sys

from django.tasks import task
from django_project.models import Invoice

calls = []


@task
def issue(number, *, again=False):
    Invoice.objects.create(number=number)
    calls.append((number, again))
    return {"issued": number}


@task(queue_name="slow")
async def issue_without_blocking(number):
    await Invoice.objects.acreate(number=number)
    calls.append((number, "async"))


@task(takes_context=True)
def tell(context):
    calls.append(context)


@task
def fail(number):
    calls.append(number)
    msg = f"no {number}"
    raise LookupError(msg)


@task
def leave():
    sys.exit("leaving")


@task
async def cancel_itself():
    raise asyncio.CancelledError


@task
def end_as_a_generator():
    raise GeneratorExit


@task
def give_what_is_no_json():
    return object()


@task
def fail_once():
    calls.append("try")
    if len(calls) == 1:
        msg = "not yet"
        raise LookupError(msg)


@task
def hold(name):
    calls.append(name)
    gates[name].wait(timeout=60)


gates = {}


def no_task():
    calls.append("no task")
