"""A FastAPI app for trial periods: a request starts a trial, and the same process ends it.

`python -m examples.fastapi_app` starts all of it; app.py is the app.
"""
