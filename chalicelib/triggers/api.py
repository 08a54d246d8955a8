"""The operators' HTTP API: each route parses its request, calls one use case, and answers."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from chalice.app import (
    BadRequestError,
    Blueprint,
    ChaliceViewError,
    ConflictError,
    IAMAuthorizer,
    NotFoundError,
    Request,
)

from chalicelib.domain.database import Database
from chalicelib.domain.errors import BusyError, NotFound, RefreshError, Refused
from chalicelib.domain.functions import APP
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import ToJson
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import validation
from chalicelib.usecases import hold, pin, promote, status

Json = dict[str, Any]
T = TypeVar("T")

_LOGGER = logging.getLogger(APP)


class Call(NamedTuple):
    """A request to change something: its fields' values, and who signed it."""

    settings: Settings
    aws: Aws
    body: Json
    query: Sequence[tuple[str, str]]
    actor: str

    @property
    def database(self) -> Database:
        """The database that the query or the body names."""
        return _database(self.settings, self.query, self.body)


class Action(NamedTuple):
    """What a person may ask for: the fields of the request, and the use case to call."""

    fields: tuple[validation.Field, ...]
    run: Callable[[Call], ToJson]


def _pin(call: Call) -> ToJson:
    body = call.body
    request = pin.PinRequest(body["snapshot"], call.actor, body["reason"], body["deploy"])
    return pin.pin(call.settings, call.aws, call.database, request)


def _rollback(call: Call) -> ToJson:
    settings, aws, body, _, actor = call
    return pin.rollback(settings, aws, call.database, actor, body["reason"], deploy=body["deploy"])


def _refresh(call: Call) -> ToJson:
    settings, aws, body, _, actor = call
    request = promote.RefreshRequest.by_person(
        actor, body["reason"], outside_window=body["outside_window"]
    )
    return promote.refresh_now(settings, aws, request, dry_run=body["dry_run"])


def _hold(call: Call) -> ToJson:
    settings, aws, body, _, actor = call
    return hold.hold(settings, aws, body["until"], actor, body["reason"])


def _resume(call: Call) -> ToJson:
    return hold.resume(call.settings, call.aws, call.actor)


ACTIONS = {
    "pin": Action(validation.PIN, _pin),
    "rollback": Action(validation.ROLLBACK, _rollback),
    "refresh": Action(validation.REFRESH, _refresh),
    "hold": Action(validation.HOLD, _hold),
    "resume": Action((), _resume),
}


def routes(settings: Settings, aws: Aws) -> Blueprint:
    """Return the API's routes, each behind the IAM authorizer: API Gateway verifies the signature."""
    blueprint = Blueprint(__name__)
    views = _Views(settings, aws, blueprint)
    table: dict[tuple[str, str], Callable[[], Json]] = {
        ("PUT", "/snapshots/current"): views.action("pin"),
        ("POST", "/snapshots/current/rollback"): views.action("rollback"),
        ("GET", "/snapshots/current/history"): views.history,
        ("GET", "/snapshots"): views.snapshots,
        ("GET", "/status"): views.status,
        ("PUT", "/hold"): views.action("hold"),
        ("DELETE", "/hold"): views.action("resume"),
        ("POST", "/refresh"): views.action("refresh"),
    }
    for (method, path), view in table.items():
        blueprint.route(path, methods=[method], authorizer=IAMAuthorizer())(view)
    return blueprint


class _Views:
    """What each route does."""

    def __init__(self, settings: Settings, aws: Aws, blueprint: Blueprint) -> None:
        self._settings = settings
        self._aws = aws
        self._blueprint = blueprint

    def history(self) -> Json:
        database = self._named_database()
        return _translate(lambda: status.history(self._settings, self._aws, database))

    def snapshots(self) -> Json:
        database = self._named_database()
        return _translate(lambda: status.snapshots(self._aws, database))

    def status(self) -> Json:
        _validate(lambda: validation.check_query(self._query, []))
        return _translate(lambda: status.status(self._settings, self._aws))

    def action(self, name: str) -> Callable[[], Json]:
        def view() -> Json:
            return self._act(name, ACTIONS[name])

        view.__name__ = name
        return view

    def _act(self, name: str, action: Action) -> Json:
        known = ["database"] if validation.DATABASE in action.fields else []
        _validate(lambda: validation.check_query(self._query, known))
        body = _validate(lambda: validation.json_body(self._body, action.fields))
        actor = self._request.context.get("identity", {}).get("userArn") or "unknown"
        call = Call(self._settings, self._aws, body, self._query, actor)
        grounds = {"request": body, "caller": actor}
        try:
            answer = action.run(call).to_json()
        except RefreshError as error:
            refusal = _http_error(error)
            _LOGGER.info(name, extra={**grounds, "refusal": str(refusal)})
            raise refusal from error
        if "dry_run" in body:
            answer["dry_run"] = body["dry_run"]
        _LOGGER.info(name, extra={**grounds, "answer": answer})
        return answer

    def _named_database(self) -> Database:
        _validate(lambda: validation.check_query(self._query, ["database"]))
        return _translate(lambda: _database(self._settings, self._query, {}))

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


def _translate(call: Callable[[], T]) -> T:
    try:
        return call()
    except RefreshError as error:
        raise _http_error(error) from error


def _http_error(error: RefreshError) -> ChaliceViewError:
    message = "; ".join([str(error), *getattr(error, "__notes__", [])])
    if isinstance(error, NotFound):
        return NotFoundError(message)
    if isinstance(error, Refused | BusyError):
        return ConflictError(message)
    return ChaliceViewError(message)


def _validate(read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as error:
        raise BadRequestError(str(error)) from None


def _database(settings: Settings, query: Sequence[tuple[str, str]], body: Json) -> Database:
    known = {database.name: database for database in settings.databases}
    name = _validate(lambda: validation.database_name(query, body, list(known)))
    if name not in known:
        message = f"there is no database {validation.echo(name)}; known: {', '.join(known)}"
        raise NotFound(Reason.DATABASE_UNKNOWN, message)
    return known[name]
