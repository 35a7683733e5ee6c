"""A FastAPI app for trial periods: a request begins one, the same process ends it when it is due.

`python -m examples.fastapi_app` starts all of it; app.py is the app.
"""
