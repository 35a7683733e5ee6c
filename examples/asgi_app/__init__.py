"""A worker that speaks HTTP: its health for Kubernetes, and an AsyncAPI page to try it out.

`python -m examples.asgi_app` starts all of it; app.py is the worker.
"""
