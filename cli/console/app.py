"""The console's pages: Flask routes over the API's client.

The pages act with the operator's credentials and ask for no password. So the server listens on the
loopback address, every request must name that address, and a form must come from a page of ours.
"""

import logging
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from flask import Flask, Response, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server

from chalicelib.domain.functions import RESTORE, deployed_name
from chalicelib.domain.results import Json, count
from chalicelib.domain.text import printable
from cli.client import ApiClient
from cli.console import view
from cli.errors import ApiError, unknown_answer
from cli.output import say

LOOPBACK = "127.0.0.1"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src "
    "'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # With no-referrer, browsers send "Origin: null" with our own forms too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TEXTS = ("snapshot", "until", "database", "reason")
_FLAGS = {"deploy", "dry_run", "outside_window"}


def serve(client: ApiClient, port: int) -> None:
    """Serve the console until it is interrupted; print its address first."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # pages reload every few seconds
    server = make_server(LOOPBACK, port, create_app(client), threaded=True)
    say(f"http://{LOOPBACK}:{server.server_port}/")
    say(f"The console of {client.name}. Press Ctrl-C to stop it.")
    server.serve_forever()  # which returns when it is interrupted


def create_app(client: ApiClient) -> Flask:
    """Return the console of a stage."""
    app, console, token = Flask(__name__), _Console(client), secrets.token_urlsafe()
    app.secret_key = secrets.token_bytes()  # signs Flask's flash messages
    app.config.update(
        SESSION_COOKIE_NAME=f"aurora-refresh-{secrets.token_hex(4)}",  # ports share cookies
        SESSION_COOKIE_SAMESITE="Strict",
        MAX_CONTENT_LENGTH=65_536,
    )
    app.jinja_env.finalize = _visible
    app.jinja_env.globals |= {"stage": client.name, "token": token}
    names = (view.age, view.clock, view.short, view.brief, view.relative, count)
    app.jinja_env.filters |= {each.__name__: each for each in names}
    app.context_processor(lambda: {"identity": client.identity(), "region": client.region})

    @app.before_request
    def check_origin() -> Response | None:
        port = request.environ["SERVER_PORT"]
        # Browsers omit port 80.
        hosts = [f"{name}:{port}".removesuffix(":80") for name in (LOOPBACK, "localhost", "[::1]")]
        is_ours = request.headers.get("Host") in hosts
        # A link from a chat may open a page, but no other page may load or frame one.
        is_opened = request.headers.get("Sec-Fetch-Dest") == "document"
        site = request.headers.get("Sec-Fetch-Site", "none")
        is_ours &= is_opened or site in ("none", "same-origin")
        if request.method not in ("GET", "HEAD"):
            is_ours &= request.headers.get("Origin") in [f"http://{host}" for host in hosts]
            # A form that is too large ends in a page, which others may not see.
            given = request.form.get("token", "") if is_ours else ""
            is_ours &= secrets.compare_digest(given.encode(), token.encode())
        message = f"This request is not from this console, which may have restarted: open http://{hosts[0]}/\n"
        return None if is_ours else Response(message, 403, mimetype="text/plain")

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    def show(error: ApiError) -> ResponseReturnValue:
        page = render_template("error.html", error=error)
        if error.may_pass_with_new_session:  # which may ask in the terminal: not for this page
            with suppress(ApiError):  # the next request reports it
                client.begin_session()
        return page, error.status or 502

    app.register_error_handler(ApiError, show)
    app.register_error_handler(KeyError, lambda error: show(unknown_answer(error)))
    app.register_error_handler(
        HTTPException, lambda error: show(ApiError(error.code, error.name, str(error.description)))
    )
    app.get("/")(console.overview)
    app.get("/databases/<name>")(console.database)
    app.get("/<any(pin, rollback, refresh, hold):action>")(console.form)
    app.post("/<any(pin, rollback, refresh, hold, resume):action>")(console.act)
    return app


class _Console:
    """Render the console's pages."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(8)

    def overview(self) -> str:
        status = self._client.status()
        databases, schedule = status["databases"], status["schedule"]
        now, limit = view.time(schedule["now"]), schedule["max_age_days"]
        periods = self._pool.map(self._periods, databases)
        charts = [view.chart(each, now, limit) for each in periods]
        aws = view.aws_console(self._client.identity(), self._client.region)
        stage = self._client.stage
        function = deployed_name(stage, RESTORE) if stage else None
        headline, tone = view.headline(status)
        context = {"headline": headline, "tone": tone, "aws": aws, "function": function}
        return render_template("overview.html", status=status, charts=charts, **context)

    def database(self, name: str) -> str:
        facts = view.database(self._client.status(), name)
        snapshots = self._pool.submit(self._client.snapshots, database=name)
        context = self._client.history(database=name) | {"snapshots": snapshots.result()}
        return render_template("database.html", facts=facts, **context)

    def act(self, action: str) -> ResponseReturnValue:
        fields: Json = {each: request.form[each] for each in _TEXTS if each in request.form}
        fields |= dict.fromkeys(_FLAGS & request.form.keys(), True)
        shown = None if "dry_run" in fields else request.form.get("shown")
        if shown is not None and shown != self._replaced(self._client.status(), action)[1]:
            changed = "What the run replaces has changed since you opened this. Check it again."
            return self.form(action, ApiError(409, "Changed", changed))
        try:
            answer: Json = getattr(self._client, action)(**fields)
        except ApiError as error:
            if error.status not in (400, 404, 409):
                raise
            return self.form("hold" if action == "resume" else action, error)
        if action == "refresh" and (answer["dry_run"] or answer["outcome"] != "started"):
            return render_template("steps.html", answer=answer)
        flash(view.done(action, answer), answer.get("next_restore") or "")
        return redirect("/", 303)

    def form(self, action: str, error: ApiError | None = None) -> ResponseReturnValue:
        status = self._client.status()
        replaced, shown = self._replaced(status, action)
        context = {"status": status, "replaced": replaced, "shown": shown, "error": error}
        page = render_template("form.html", action=action, values=request.values, **context)
        return page, (error and error.status) or 200

    def _replaced(self, status: Json, action: str) -> tuple[list[view.Replacement], str]:
        """Return what the request would have a run replace, and the same as a text."""
        values = request.values
        asked = (values.get("database"), values.get("snapshot"))
        replaced = [] if action in ("hold", "resume") else view.replaced(status, action, *asked)
        return replaced, printable(", ".join(each.move for each in replaced))

    def _periods(self, facts: Json) -> list[view.Period]:
        """Return which data a database had and when it had been taken, by its history."""
        history = []
        with suppress(ApiError):  # the status names the problem, and only the chart is missing
            history = self._client.history(database=facts["name"])["history"]
        return view.periods(facts, history)


def _visible(value: Any) -> Any:
    """Make a text printable; Jinja escapes the rest, and markup is always our own."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)
