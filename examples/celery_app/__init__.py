"""Celery tasks that schedule timers, and timers that send Celery tasks: orders await payment.

`python -m examples.celery_app` starts all of it. tasks.py is the Celery app, bridge.py the
FastStream worker that sends a task when a timer is due; docs/celery.md explains both.
"""
