"""The operators' HTTP API: each route parses its request, calls one use case, and answers."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from chalice.app import (
    BadRequestError,
    Blueprint,
    ChaliceViewError,
    ConflictError,
    IAMAuthorizer,
    MultiDict,
    NotFoundError,
    Request,
)

from chalicelib.domain.database import Database
from chalicelib.domain.errors import BusyError, NotFound, RefreshError, Refused
from chalicelib.domain.functions import APP
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Json
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import validation
from chalicelib.usecases import hold, pin, promote, status

_LOGGER = logging.getLogger(APP)


class Route(NamedTuple):
    """A route: the use case to call with the fields of the request, by their names.

    A write is called with its `actor`, who signed it. A GET has no body: the query names the
    database.
    """

    method: str
    path: str
    name: str
    use_case: Callable[..., Json]
    fields: tuple[validation.Field, ...] = ()


def _refresh(settings: Settings, aws: Aws, **fields: Any) -> Json:
    result = promote.refresh_now(settings, aws, **fields)
    return result.to_json() | {"dry_run": fields["dry_run"]}


_DATABASE = (validation.DATABASE,)
ROUTES = (
    Route("PUT", "/snapshots/current", "pin", pin.pin, validation.PIN),
    Route("POST", "/snapshots/current/rollback", "rollback", pin.pin, validation.ROLLBACK),
    Route("GET", "/snapshots/current/history", "history", status.history, _DATABASE),
    Route("GET", "/snapshots", "snapshots", status.snapshots, _DATABASE),
    Route("GET", "/status", "status", status.status),
    Route("PUT", "/hold", "hold", hold.hold, validation.HOLD),
    Route("DELETE", "/hold", "resume", hold.resume),
    Route("POST", "/refresh", "refresh", _refresh, validation.REFRESH),
)


def routes(settings: Settings, aws: Aws) -> Blueprint:
    """Return the API's routes, each behind the IAM authorizer: API Gateway verifies the signature."""
    blueprint = Blueprint(__name__)

    def view_of(route: Route) -> Callable[[], Json]:
        def view() -> Json:
            return _answer(route, settings, aws, blueprint.current_request)

        view.__name__ = route.name
        return view

    for each in ROUTES:
        register = blueprint.route(each.path, methods=[each.method], authorizer=IAMAuthorizer())
        register(view_of(each))
    return blueprint


def _answer(route: Route, settings: Settings, aws: Aws, request: Request) -> Json:
    query = request.query_params or MultiDict({})
    takes_database = validation.DATABASE in route.fields
    validation.check_query(query, ["database"] if takes_database else [])
    actor = request.context.get("identity", {}).get("userArn") or "unknown"
    is_read = route.method == "GET"
    body = {} if is_read else validation.json_body(request.raw_body, route.fields)
    grounds = {"request": body, "caller": actor}
    values = body if is_read else body | {"actor": actor}
    try:
        if takes_database:
            asked = [*(query.getlist("database") if query else []), body.get("database")]
            values = values | {"database": _database(settings, asked)}
        answer = route.use_case(settings, aws, **values)
    except RefreshError as error:
        failure = _http_error(error)
        extra = {**grounds, "refusal": str(failure)}
        if failure.STATUS_CODE == ChaliceViewError.STATUS_CODE:
            _LOGGER.exception(route.name, extra=extra)  # to Lambda, an answer of 500 is no error
        elif not is_read:
            _LOGGER.info(route.name, extra=extra)
        raise failure from error
    if not is_read:
        _LOGGER.info(route.name, extra={**grounds, "answer": answer})
    return answer


def _database(settings: Settings, asked: Iterable[str | None]) -> Database:
    """Return the database that the query or the body names; the only one need not be named."""
    known = {database.name: database for database in settings.databases}
    names = {each for each in asked if each is not None}
    if len(names) > 1:
        raise BadRequestError("the request names different databases")
    if not names and len(known) > 1:
        raise BadRequestError(f"database is missing: name one of {', '.join(known)}")
    name = next(iter(names or known))
    if name not in known:
        message = f"there is no database {validation.echo(name)}; known: {', '.join(known)}"
        raise NotFound(Reason.DATABASE_UNKNOWN, message)
    return known[name]


def _http_error(error: RefreshError) -> ChaliceViewError:
    message = "; ".join([str(error), *getattr(error, "__notes__", [])])
    if isinstance(error, NotFound):
        return NotFoundError(message)
    if isinstance(error, Refused | BusyError):
        return ConflictError(message)
    return ChaliceViewError(message)
