"""A Django shop: a FastStream worker expires orders that are not paid in time.

`python -m examples.django_project` starts all of it. shop/ is the project and its only app,
worker.py is the worker.
"""
