"""A Flask app for trial periods: a request starts a trial, a FastStream worker ends it.

`python -m examples.flask_app` starts all of it; app.py is the web app, worker.py is the worker.
"""
