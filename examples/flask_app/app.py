"""The web app: starts trials, extends them, and cancels their end when a user subscribes.

At /timers are web pages of its timers, for the user ops with the password of OPS_PASSWORD.

Run it alone: `FLASK_TIMERS_URL=redis://localhost:6379 flask --app examples.flask_app.app run`.
"""

from datetime import timedelta
from hmac import compare_digest
from typing import Any

from flask import Blueprint, Flask, current_app, request

from faststream_redis_timers_sync import Cron, Series
from faststream_redis_timers_sync.flask import FlaskTimers
from faststream_redis_timers_sync.web import Access, AskPassword, Request

TOPIC = "trials"
LONGEST = timedelta(days=14)
SERIES = [
    Series("", "trial-counts", timer_id="daily", repeat=Cron("0 6 * * *", tz="Europe/Berlin"))
]

Answer = tuple[dict[str, Any], int]

timers = FlaskTimers()
views = Blueprint("trials", __name__)


def create_app(**config: Any) -> Flask:
    app = Flask(__name__)
    app.config["TIMERS_TOPICS"] = [TOPIC]
    # Created by `flask timers series`, a step of each deploy.
    app.config["TIMERS_SERIES"] = SERIES
    app.config["TIMERS_SERIES_OWNER"] = "trials"
    # FLASK_TIMERS_URL becomes TIMERS_URL, and FLASK_OPS_PASSWORD becomes OPS_PASSWORD.
    app.config.from_prefixed_env()
    app.config.update(config)
    timers.init_app(app)
    app.register_blueprint(views)
    app.register_blueprint(timers.blueprint(allow=allow, longest_lease=30), url_prefix="/timers")
    return app


def allow(pages_request: Request) -> Access | AskPassword:
    """Allow users who know the OPS_PASSWORD of the config; without one, allow nobody."""
    user, password = pages_request.credentials or ("", "")
    wanted = str(current_app.config.get("OPS_PASSWORD", ""))
    if user == "ops" and wanted and compare_digest(password.encode(), wanted.encode()):
        return Access(user, may={"run", "reschedule", "cancel", "redrive"})
    return AskPassword()


@views.post("/trials/<user>")
def begin_trial(user: str) -> Answer:
    """Let a new or a running trial end in 14 days, or in the seconds of the form."""
    lasts = request.form.get("seconds", LONGEST.total_seconds(), type=float)
    timers.client.schedule(user, TOPIC, timer_id=user, activate_in=timedelta(seconds=lasts))
    return show_trial(user)


@views.get("/trials/<user>")
def show_trial(user: str) -> Answer:
    if trial := timers.client.get_timer(TOPIC, user):
        return {"user": user, "ends_at": trial.due_at.isoformat()}, 200
    return {"error": f"{user} is on no trial"}, 404


@views.delete("/trials/<user>")
def subscribe(user: str) -> Answer:
    if timers.client.cancel_timer(TOPIC, user):
        return {"user": user, "subscribed": True}, 200
    # It has ended, or its handler is running.
    return {"error": f"{user} is on no trial"}, 404


@views.get("/health")
def health() -> Answer:
    is_up = timers.client.ping()
    return {"timers": "up" if is_up else "down"}, 200 if is_up else 503
