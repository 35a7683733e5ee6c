"""Fixtures of the tests with Flask: an app on the keys of one test."""

import pytest
from flask import Flask

from faststream_redis_timers_sync.flask import FlaskTimers


@pytest.fixture
def key_config(key_names):
    """The key names of one test, as config of an app."""
    return {f"TIMERS_{name.upper()}": value for name, value in key_names.items()}


@pytest.fixture
def make_app():
    """Make an app with a config."""

    def make(extension=None, **config):
        app = Flask(__name__)
        app.config.update(config)
        (extension or FlaskTimers()).init_app(app)
        return app

    return make


@pytest.fixture
def app(make_app, server_url, key_config):
    """An app on the server of the tests."""
    app = make_app(TIMERS_URL=server_url, TIMERS_TOPICS=["invoices", "orders"], **key_config)
    yield app
    # An app is collected whenever it comes to that, and its sockets with it.
    with app.app_context():
        FlaskTimers().client.close()


@pytest.fixture
def client(app):
    """The app's client."""
    with app.app_context():
        yield FlaskTimers().client
