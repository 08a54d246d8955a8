"""The operators' HTTP API: each route parses its request, calls one use case, and answers."""

import json
import re
from collections.abc import Mapping
from typing import Any

from chalice.app import (
    BadRequestError,
    Blueprint,
    ChaliceViewError,
    ConflictError,
    IAMAuthorizer,
    NotFoundError,
    Request,
)

from chalicelib import refresh
from chalicelib.errors import AwsError, NotFound, Refused
from chalicelib.ports import World
from chalicelib.settings import Database, Settings
from chalicelib.snapshots import SnapshotArn

REASON_LIMIT = 256

# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBClusterSnapshot.html
# "rds:" begins the names of automated snapshots.
_IDENTIFIER = re.compile(r"(rds:)?[A-Za-z](-?[A-Za-z0-9])*")

# Control characters of ASCII and Latin-1, Unicode's line ends, and halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def routes(settings: Settings, world: World) -> Blueprint:
    """The API's routes, each behind the IAM authorizer: API Gateway verifies the signature."""
    blueprint = Blueprint(__name__)

    @blueprint.route("/snapshots/current", methods=["PUT"], authorizer=IAMAuthorizer())
    def pin_current() -> dict[str, Any]:
        request = blueprint.current_request
        body = _body(request, {"snapshot": str, "reason": str, "deploy": bool, "database": str})
        wish = refresh.Pin(
            snapshot=_snapshot(body),
            by=_caller(request),
            why=_reason(body),
            deploy=body.get("deploy", False),
        )
        database = _database(settings, request, body)
        try:
            return refresh.pin(settings, world, database, wish)
        except NotFound as error:
            raise NotFoundError(str(error)) from error
        except Refused as error:
            raise ConflictError(str(error)) from error
        except AwsError as error:
            raise ChaliceViewError(str(error)) from error

    return blueprint


def _body(request: Request, fields: dict[str, type]) -> dict[str, Any]:
    """The request's JSON object, held against the declared ``fields``."""
    try:
        body = json.loads(request.raw_body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequestError("the body is not a JSON object")
    for name, value in body.items():
        if name not in fields:
            raise BadRequestError(f"unknown field {name!r}; known: {', '.join(fields)}")
        if type(value) is not fields[name]:  # a bool is an int to isinstance
            raise BadRequestError(f"{name} is {value!r}: a {fields[name].__name__} is wanted")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which Python reads but JSON has not


def _snapshot(body: dict[str, Any]) -> str:
    snapshot: str = body.get("snapshot", "")
    identifier = len(snapshot) <= 255 and _IDENTIFIER.fullmatch(snapshot)
    if not identifier and SnapshotArn.parse(snapshot) is None:
        raise BadRequestError(
            f"snapshot is {snapshot!r}: the ARN or the identifier of a DB cluster snapshot is "
            "wanted, or latest"
        )
    return snapshot


def _reason(body: dict[str, Any]) -> str:
    reason: str = body.get("reason", "")
    if len(reason) > REASON_LIMIT or _CONTROL.search(reason):
        raise BadRequestError(
            f"reason wants at most {REASON_LIMIT} characters and none that controls a terminal"
        )
    return reason


def _database(settings: Settings, request: Request, body: dict[str, Any]) -> Database:
    """The database that query or body names; it need not where there is only one."""
    query: Mapping[str, str] = request.query_params or {}
    names = {fields["database"] for fields in (body, query) if "database" in fields}
    known = {database.name: database for database in settings.databases}
    if len(names) > 1:
        raise BadRequestError("query and body name different databases")
    if not names and len(known) > 1:
        raise BadRequestError(f"database is missing: name one of {', '.join(known)}")
    name = names.pop() if names else next(iter(known))
    if name not in known:
        raise NotFoundError(f"there is no database {name!r}; known: {', '.join(known)}")
    return known[name]


def _caller(request: Request) -> str:
    # chalice local signs nobody in; API Gateway always names the caller of a signed request.
    caller: str | None = request.context.get("identity", {}).get("userArn")
    return caller or "unknown"
