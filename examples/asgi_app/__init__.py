"""A worker that serves HTTP: health for Kubernetes, an AsyncAPI page, and pages of timers.

`python -m examples.asgi_app` starts all of it; app.py is the worker.
"""
