"""The operators' HTTP API: each route parses its request, asks one use case, and answers."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from chalice.app import (
    BadRequestError,
    Blueprint,
    ChaliceViewError,
    ConflictError,
    ForbiddenError,
    IAMAuthorizer,
    NotFoundError,
    Request,
    Response,
)

from chalicelib.domain.database import Database
from chalicelib.domain.errors import NotFound, PipelineBusyError, RefreshError, Refused
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import validation as inputs
from chalicelib.usecases import hold as holding
from chalicelib.usecases.pin import Pin, pin, rollback
from chalicelib.usecases.promote import RefreshRequest, refresh_now

Json = dict[str, Any]
T = TypeVar("T")

FORM = "application/x-www-form-urlencoded"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Asked(NamedTuple):
    """A request to change something: its fields' values, and who signed it."""

    body: Json
    query: Sequence[tuple[str, str]]
    by: str


class Action(NamedTuple):
    """What a person may ask for: the fields of the request, and the use case it asks."""

    fields: tuple[inputs.Field, ...]
    ask: Callable[[Settings, Aws, Asked], Json]


def _pin(settings: Settings, aws: Aws, asked: Asked) -> Json:
    body = asked.body
    wish = Pin(body["snapshot"], asked.by, body["reason"], body["deploy"])
    return pin(settings, aws, _database(settings, asked.query, body), wish)


def _rollback(settings: Settings, aws: Aws, asked: Asked) -> Json:
    body = asked.body
    database = _database(settings, asked.query, body)
    return rollback(settings, aws, database, asked.by, body["reason"], deploy=body["deploy"])


def _refresh(settings: Settings, aws: Aws, asked: Asked) -> Json:
    body = asked.body
    order = RefreshRequest.by_hand(asked.by, body["reason"], outside_window=body["outside_window"])
    answer = refresh_now(settings, aws, order, dry_run=body["dry_run"])
    return {**answer.to_json(), "dry_run": body["dry_run"]}


def _hold(settings: Settings, aws: Aws, asked: Asked) -> Json:
    return holding.hold(settings, aws, asked.body["until"], asked.by, asked.body["reason"])


def _resume(settings: Settings, aws: Aws, asked: Asked) -> Json:
    return holding.resume(settings, aws, asked.by)


ACTIONS = {
    "pin": Action(inputs.PIN, _pin),
    "rollback": Action(inputs.ROLLBACK, _rollback),
    "refresh": Action(inputs.REFRESH, _refresh),
    "hold": Action(inputs.HOLD, _hold),
    "resume": Action((), _resume),
}


def routes(settings: Settings, aws: Aws, operator: str | None = None) -> Blueprint:
    """The API's routes, each behind the IAM authorizer: API Gateway verifies the signature.

    ``operator``: whose credentials `chalice local` runs with, which signs nobody in. The console
    has its forms there only.
    """
    blueprint = Blueprint(__name__)
    views = _Views(settings, aws, operator, blueprint)
    table: dict[tuple[str, str], Callable[[], Any]] = {
        ("PUT", "/snapshots/current"): views.pin,
        ("POST", "/snapshots/current/rollback"): views.rollback,
        ("GET", "/snapshots/current/history"): views.history,
        ("GET", "/snapshots"): views.snapshots,
        ("GET", "/status"): views.status,
        ("PUT", "/hold"): views.hold,
        ("DELETE", "/hold"): views.resume,
        ("POST", "/refresh"): views.refresh,
        ("GET", "/"): views.console,
    }
    for (method, path), view in table.items():
        blueprint.route(path, methods=[method], authorizer=IAMAuthorizer())(view)
    if operator:
        blueprint.route("/", methods=["POST"], authorizer=IAMAuthorizer(), content_types=[FORM])(
            views.submit
        )
    blueprint.middleware("http")(_only_own_pages)
    return blueprint


class _Views:
    """What each route does."""

    def __init__(
        self, settings: Settings, aws: Aws, operator: str | None, blueprint: Blueprint
    ) -> None:
        self._settings = settings
        self._world = aws
        self._operator = operator
        self._blueprint = blueprint
        self._logger = logging.getLogger("aurora-refresh")

    def pin(self) -> Json:
        return self._act("pin", inputs.json_body)

    def rollback(self) -> Json:
        return self._act("rollback", inputs.json_body)

    def hold(self) -> Json:
        return self._act("hold", inputs.json_body)

    def resume(self) -> Json:
        return self._act("resume", inputs.json_body)

    def refresh(self) -> Json:
        return self._act("refresh", inputs.json_body)

    def history(self) -> Json:
        from chalicelib.usecases import status as overview  # noqa: PLC0415 (a cold pin does without)

        database = self._named_database()
        return _answered(lambda: overview.history(self._settings, self._world, database))

    def snapshots(self) -> Json:
        from chalicelib.usecases import status as overview  # noqa: PLC0415 (a cold pin does without)

        database = self._named_database()
        return _answered(lambda: overview.snapshots(self._world, [database])[database.name])

    def status(self) -> Json:
        from chalicelib.usecases import status as overview  # noqa: PLC0415 (a cold pin does without)

        _well_formed(lambda: inputs.check_query(self._query, []))
        return _answered(lambda: overview.status(self._settings, self._world))

    def console(self) -> Response:
        _well_formed(lambda: inputs.check_query(self._query, []))
        return self._page()

    def submit(self) -> Response:
        """What the console's forms send; an answer that moved nothing is shown on the page."""
        try:
            fields = _well_formed(lambda: inputs.form_fields(self._body))
            name = dict(fields).get("action", "")
            if name not in ACTIONS:
                known = ", ".join(ACTIONS)
                raise BadRequestError(f"action is {inputs.echo(name)}; known: {known}")
            answer = self._act(name, inputs.form_body)
        except ChaliceViewError as error:
            return self._page(error.STATUS_CODE, message=str(error))
        if name == "refresh" and (answer["dry_run"] or answer["outcome"] != "started"):
            return self._page(refresh=answer)
        # After a redirect, loading the page again does not send the form again.
        return Response("", {"Location": "/"}, 303)

    def _act(self, name: str, read: Callable[[bytes, Sequence[inputs.Field]], Json]) -> Json:
        action = ACTIONS[name]
        known = ["database"] if inputs.DATABASE in action.fields else []
        _well_formed(lambda: inputs.check_query(self._query, known))
        body = _well_formed(lambda: read(self._body, action.fields))
        by = _caller(self._request) or self._operator or "unknown"
        grounds = {"wish": body, "caller": by}
        try:
            answer = action.ask(self._settings, self._world, Asked(body, self._query, by))
        except RefreshError as error:
            refusal = _http_error(error)
            self._logger.info(name, extra={**grounds, "refusal": str(refusal)})
            raise refusal from error
        self._logger.info(name, extra={**grounds, "answer": answer})
        return answer

    def _page(self, status: int = 200, **shown: Any) -> Response:
        from chalicelib.triggers import console  # noqa: PLC0415 (a cold pin does without)
        from chalicelib.usecases import status as overview  # noqa: PLC0415 (a cold pin does without)

        view = _answered(lambda: overview.console(self._settings, self._world))
        text = console.page(view, writable=bool(self._operator), **shown)
        return Response(text, dict(console.HEADERS), status)

    def _named_database(self) -> Database:
        _well_formed(lambda: inputs.check_query(self._query, ["database"]))
        return _answered(lambda: _database(self._settings, self._query, {}))

    @property
    def _request(self) -> Request:
        request: Request = self._blueprint.current_request
        return request

    @property
    def _body(self) -> bytes:
        body = self._request.raw_body
        return body.encode() if isinstance(body, str) else body

    @property
    def _query(self) -> list[tuple[str, str]]:
        query = self._request.query_params
        return [(name, text) for name in query for text in query.getlist(name)] if query else []


def _only_own_pages(request: Request, get_response: Callable[[Request], Response]) -> Response:
    """Refuses what another web page may have sent to an API that signs nobody in."""
    refusal = None if _caller(request) else _foreign(request.method, request.headers)
    if refusal is None:
        return get_response(request)
    body = {"Code": ForbiddenError.__name__, "Message": refusal}
    return Response(body, status_code=ForbiddenError.STATUS_CODE)


def _answered(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except RefreshError as error:
        raise _http_error(error) from error


def _http_error(error: RefreshError) -> ChaliceViewError:
    message = "; ".join([str(error), *getattr(error, "__notes__", [])])
    if isinstance(error, NotFound):
        return NotFoundError(message)
    if isinstance(error, Refused | PipelineBusyError):
        return ConflictError(message)
    return ChaliceViewError(message)


def _well_formed(read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as error:
        raise BadRequestError(str(error)) from None


def _database(settings: Settings, query: Sequence[tuple[str, str]], body: Json) -> Database:
    known = {database.name: database for database in settings.databases}
    name = _well_formed(lambda: inputs.database_name(query, body, list(known)))
    if name not in known:
        message = f"there is no database {inputs.echo(name)}; known: {', '.join(known)}"
        raise NotFound("database-unknown", message)
    return known[name]


def _caller(request: Request) -> str | None:
    """The ARN of who signed the request; API Gateway lets nobody else in, `chalice local` anybody."""
    caller: str | None = request.context.get("identity", {}).get("userArn")
    return caller


def _foreign(method: str, headers: Mapping[str, str]) -> str | None:
    """Why an unsigned request is not one of the operator's own.

    Any page in the operator's browser can reach a server on the loopback address: one that has had
    its name resolve to it (which Host tells), or one that sends a form there (which Origin tells).
    No browser leaves out Host, nor Origin where something is written.
    """
    host = headers.get("host")
    if host is not None and _hostname(host) not in LOOPBACK:
        return f"host is {inputs.echo(host)}: unsigned requests are for the loopback address only"
    origin = headers.get("origin")
    if method not in ("GET", "HEAD") and origin not in (None, f"http://{host}"):
        return f"origin is {inputs.echo(origin)}: another page may not write here"
    return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
