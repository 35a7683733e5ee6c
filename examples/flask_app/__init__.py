"""A Flask app for trial periods: a request begins one, a FastStream worker ends it.

`python -m examples.flask_app` starts all of it; app.py is the web app, worker.py the worker.
"""
