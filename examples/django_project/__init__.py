"""A Django shop: an order expires when it is not paid in time; a FastStream worker sees to it.

`python -m examples.django_project` starts all of it. shop/ is the project and its one app,
worker.py the worker.
"""
