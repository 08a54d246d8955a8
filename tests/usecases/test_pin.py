"""PUT /snapshots/current: an operator sets *current* by hand."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError
from chalicelib.domain.ledger import Note, Run
from chalicelib.settings.acceptance import Settings
from tests.fakes import ACCEPTANCE, InMemoryAws, arn, snapshot
from tests.stage import CURRENT, LATEST, PIPELINE, PIPELINE_NAME, TWO
from tests.usecases.conftest import BY_HAND, KIM, Api

Put = Callable[..., tuple[int, Any]]


def client_of(settings: Settings, aws: InMemoryAws) -> Put:
    ask = Api(settings, aws)

    def put(body: Any, query: str = "", raw: bytes | None = None) -> tuple[int, Any]:
        text = json.dumps(body).encode() if raw is None else raw
        return ask.raw("PUT", f"/snapshots/current{query}", text)

    return put


@pytest.fixture
def put(settings: Settings, aws: InMemoryAws) -> Iterator[Put]:
    return client_of(settings, aws)


def started(aws: InMemoryAws) -> int:
    return len(aws.pipelines.pipelines[PIPELINE]) - 1


# --- pinning --------------------------------------------------------------------------------------


def test_a_snapshot_is_pinned_by_its_arn(put: Put, aws: InMemoryAws) -> None:
    assert put({"snapshot": arn("new"), "reason": "regression of March"}) == (
        200,
        {"current": arn("new"), "previous": arn("old"), "version": 2, "execution_id": None},
    )
    entry = aws.parameters.kept[CURRENT][-1]
    assert entry.value == arn("new")
    assert entry.note == Note("pin", KIM, "regression of March", None)
    assert started(aws) == 0


def test_a_snapshot_is_pinned_by_its_identifier(put: Put, aws: InMemoryAws) -> None:
    assert put({"snapshot": "new"})[0] == 200
    assert aws.values()[CURRENT] == arn("new")


@pytest.mark.parametrize("wish", ["NEW", arn("New"), "Latest"])
def test_identifiers_are_read_in_any_case(put: Put, aws: InMemoryAws, wish: str) -> None:
    assert put({"snapshot": wish})[0] == 200
    assert aws.values()[CURRENT] == arn("new")


def test_latest_is_pinned_by_that_word(put: Put, aws: InMemoryAws) -> None:
    assert put({"snapshot": "latest"})[0] == 200
    assert aws.values()[CURRENT] == arn("new")


def test_a_snapshot_of_any_age_is_pinned(put: Put, aws: InMemoryAws) -> None:
    ancient = snapshot("ancient", created=aws.time - timedelta(days=999))
    aws.snapshots.all.append(ancient)
    assert put({"snapshot": "ancient"})[0] == 200


def test_an_own_snapshot_of_another_cluster_is_pinned(put: Put, aws: InMemoryAws) -> None:
    aws.snapshots.all.append(snapshot("before-test", ACCEPTANCE, cluster="acceptance-orders"))
    assert put({"snapshot": "before-test"})[0] == 200
    assert aws.values()[CURRENT] == arn("before-test", ACCEPTANCE)


def test_pinning_what_is_pinned_changes_nothing(put: Put, aws: InMemoryAws) -> None:
    aws.snapshots.all.append(snapshot("old"))
    assert put({"snapshot": arn("old")}) == (
        200,
        {"current": arn("old"), "previous": arn("old"), "version": 1, "execution_id": None},
    )
    assert len(aws.parameters.kept[CURRENT]) == 1


def test_a_current_that_does_not_exist_is_created(put: Put, aws: InMemoryAws) -> None:
    del aws.parameters.kept[CURRENT]
    assert put({"snapshot": "new"}) == (
        200,
        {"current": arn("new"), "previous": None, "version": 1, "execution_id": None},
    )


def test_deploy_starts_the_pipeline_too(put: Put, aws: InMemoryAws) -> None:
    status, answer = put({"snapshot": "new", "deploy": True})
    assert (status, answer["execution_id"]) == (200, "run-2")
    token = aws.parameters.kept[CURRENT][-1].token
    assert token is not None
    assert aws.pipelines.start(PIPELINE, token) == "run-2"


def test_deploy_of_what_is_pinned_starts_the_pipeline_and_writes_nothing(
    put: Put, aws: InMemoryAws
) -> None:
    assert put({"snapshot": "old", "deploy": True}) == (
        200,
        {"current": arn("old"), "previous": arn("old"), "version": 1, "execution_id": "run-2"},
    )
    assert len(aws.parameters.kept[CURRENT]) == 1


def test_a_pin_makes_at_most_six_calls(put: Put, aws: InMemoryAws) -> None:
    aws.calls.clear()
    put({"snapshot": "new", "deploy": True})
    # Finding a snapshot by its name is two calls to AWS: as an own one and as a share.
    assert aws.calls == ["get", "named", "runs", "put", "start"]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "status", "code", "message"),
    [
        (
            {"snapshot": "unheard-of"},
            404,
            "NotFoundError",
            "there is no snapshot unheard-of, neither own nor shared",
        ),
        (
            {"snapshot": arn("new", "999999999999")},
            404,
            "NotFoundError",
            f"there is no snapshot {arn('new', '999999999999')}, neither own nor shared",
        ),
        (
            {"snapshot": arn("hostile", "999999999999")},
            409,
            "ConflictError",
            (
                f"{arn('hostile', '999999999999')} cannot be pinned: "
                "account 999999999999, wanted 111111111111"
            ),
        ),
        (
            {"snapshot": "making"},
            409,
            "ConflictError",
            f"{arn('making')} cannot be pinned: status creating, wanted available",
        ),
        (
            {"snapshot": "twice"},
            409,
            "ConflictError",
            (
                "twice is the name of several snapshots; name one by its ARN: "
                f"{arn('twice')}, {arn('twice', ACCEPTANCE)}"
            ),
        ),
        (
            {"snapshot": "new", "database": "orders"},
            404,
            "NotFoundError",
            'there is no database "orders"; known: rds',
        ),
    ],
)
def test_a_refused_pin_says_why_and_writes_nothing(
    put: Put, aws: InMemoryAws, wish: dict[str, Any], status: int, code: str, message: str
) -> None:
    aws.snapshots.all += [
        snapshot("hostile", "999999999999"),
        snapshot("making", status="creating"),
        snapshot("twice"),
        snapshot("twice", ACCEPTANCE),
    ]
    before = aws.values()
    assert put(wish) == (status, {"Code": code, "Message": message})
    assert aws.values() == before


@pytest.mark.parametrize("value", ["dummyvalue", None])
def test_latest_is_refused_while_there_is_none(
    put: Put, aws: InMemoryAws, value: str | None
) -> None:
    del aws.parameters.kept[LATEST]
    if value:
        aws.parameters.put(LATEST, value, BY_HAND)
    status, answer = put({"snapshot": "latest"})
    assert (status, answer["Message"]) == (409, f"{LATEST} names no snapshot yet")


def test_a_latest_that_is_gone_is_named(put: Put, aws: InMemoryAws) -> None:
    aws.snapshots.all.clear()
    assert put({"snapshot": "latest"}) == (
        404,
        {
            "Code": "NotFoundError",
            "Message": f"there is no snapshot {arn('new')}, neither own nor shared",
        },
    )


def test_deploy_is_refused_while_a_run_is_in_progress_and_nothing_is_written(
    put: Put, aws: InMemoryAws
) -> None:
    aws.pipelines.pipelines[PIPELINE].append(Run("deploy-7", "InProgress", aws.time, aws.time))
    before = aws.values()
    assert put({"snapshot": "new", "deploy": True}) == (
        409,
        {
            "Code": "ConflictError",
            "Message": "pipeline acceptance-main is busy with run deploy-7; try later",
        },
    )
    assert aws.values() == before


@pytest.mark.parametrize("name", ["missing", "somebody-elses"])
def test_deploy_is_refused_without_a_pipeline(put: Put, aws: InMemoryAws, name: str) -> None:
    del aws.parameters.kept[PIPELINE_NAME]
    if name != "missing":
        aws.parameters.put(PIPELINE_NAME, name, BY_HAND)
    before = aws.values()
    assert put({"snapshot": "new", "deploy": True})[0] == 409
    assert aws.values() == before


def test_a_run_that_cannot_be_started_puts_the_old_value_back(put: Put, aws: InMemoryAws) -> None:
    def fail(when: str, operation: str) -> None:
        if (when, operation) == ("before", "start"):
            raise AwsError("StartPipelineExecution", "pipeline x", "Throttling", "Rate exceeded")

    aws.interrupt = fail
    status, answer = put({"snapshot": "new", "deploy": True})
    assert (status, answer["Message"]) == (
        500,
        "StartPipelineExecution of pipeline x failed: Throttling: Rate exceeded",
    )
    assert aws.values()[CURRENT] == arn("old")


# --- malformed requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[" * 8_192, "the body is not JSON"),
        (b"[" * 8_193, "the body is larger than 8192 bytes"),
        (b'{"snapshot": "new"}' + b" " * 8_192, "the body is larger than 8192 bytes"),
        (b'{"snapshot": NaN}', "the body is not JSON"),
        (b'["new"]', "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b'{"snapshot": "new", "snapshot": "new"}', 'field "snapshot" is written 2 times'),
        (b'{"snapshot": "old", "deploy": true, "snapshot": "new"}', 'field "snapshot" is'),
    ],
)
def test_a_body_that_is_no_json_object_is_malformed(put: Put, raw: bytes, message: str) -> None:
    status, answer = put(None, raw=raw)
    assert (status, answer["Code"]) == (400, "BadRequestError")
    assert answer["Message"].startswith(message)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "snapshot is missing: the ARN or the identifier of a DB cluster snapshot is wanted"),
        ({"snapshot": 5}, "snapshot is 5: a string is wanted"),
        ({"snapshot": {"a": [1]}}, "snapshot is an object: a string is wanted"),
        ({"snapshot": ["new"]}, "snapshot is an array: a string is wanted"),
        ({"snapshot": ""}, 'snapshot is "": the ARN'),
        ({"snapshot": "a" * 256}, f'snapshot is "{"a" * 79}…: the ARN'),
        ({"snapshot": "a" * 78 + " "}, f'snapshot is "{"a" * 78} …: the ARN'),
        ({"snapshot": "a" * 77 + " "}, f'snapshot is "{"a" * 77} ": the ARN'),
        ({"snapshot": arn("a" * 461)}, f'snapshot is "{arn("a" * 461)[:79]}…: the ARN'),
        ({"snapshot": "new snapshot"}, 'snapshot is "new snapshot": the ARN'),
        ({"snapshot": "new\n"}, 'snapshot is "new\\n": the ARN'),
        ({"snapshot": "new\u202e"}, 'snapshot is "new\\u202e": the ARN'),
        ({"snapshot": arn("new").replace("cluster-", "")}, 'snapshot is "arn:'),
        ({"snapshot": "new", "deploy": 1}, "deploy is 1: true or false is wanted"),
        ({"snapshot": "new", "deploy": "true"}, 'deploy is "true": true or false is wanted'),
        ({"snapshot": "new", "deploy": 10**200}, f"deploy is 1{'0' * 79}…: true or false"),
        ({"snapshot": "new", "reason": None}, "reason is null: a string is wanted"),
        ({"snapshot": "new", "reason": True}, "reason is true: a string is wanted"),
        ({"snapshot": "new", "reason": "a" * 257}, f'reason is "{"a" * 79}…: at most 256'),
        ({"snapshot": "new", "force": True}, 'unknown field "force"; known: snapshot, reason'),
        ({"snapshot": "new", "f" * 999: True}, f'unknown field "{"f" * 79}…; known: snapshot'),
    ],
)
def test_a_malformed_field_is_named(
    put: Put, aws: InMemoryAws, body: dict[str, Any], told: str
) -> None:
    before = aws.values()
    status, answer = put(body)
    assert (status, answer["Code"]) == (400, "BadRequestError")
    assert told in answer["Message"]
    assert aws.values() == before


@pytest.mark.parametrize(
    "reason",
    [
        "\x1b[2J",
        "two\nlines",
        "\x9b",
        "\ud800",
        "\N{LINE SEPARATOR}",
        "\N{PARAGRAPH SEPARATOR}",
        "\N{RIGHT-TO-LEFT OVERRIDE}",
        "\N{FIRST STRONG ISOLATE}",
        "zero\N{ZERO WIDTH SPACE}width",
        "\N{ZERO WIDTH NO-BREAK SPACE}",
        "\N{TAG LATIN SMALL LETTER A}",
    ],
)
def test_a_reason_holds_nothing_invisible(put: Put, aws: InMemoryAws, reason: str) -> None:
    """It is read in terminals, logs and mails."""
    before = aws.values()
    told = (
        f"reason is {json.dumps(reason)}: at most 256 characters are wanted, and none that is "
        "invisible or controls a terminal"
    )
    assert put({"snapshot": "new", "reason": reason}) == (
        400,
        {"Code": "BadRequestError", "Message": told},
    )
    assert aws.values() == before


@pytest.mark.parametrize("reason", ["", "a" * 256, "Größe 数据 مارس ✓ — “so” 🚀"])
def test_a_reason_is_written_in_any_script(put: Put, aws: InMemoryAws, reason: str) -> None:
    assert put({"snapshot": "new", "reason": reason})[0] == 200
    assert aws.parameters.kept[CURRENT][-1].note.why == reason


@pytest.mark.parametrize(("wish", "length"), [(arn("a" * 460), 512), ("a" * 255, 255)])
def test_the_longest_arn_and_the_longest_identifier_are_looked_up(
    put: Put, wish: str, length: int
) -> None:
    assert len(wish) == length
    assert put({"snapshot": wish})[0] == 404


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?force=1", 'unknown query parameter "force"; known: database'),
        ("?database=rds&force=1&dry=1", 'unknown query parameter "force, dry"; known: database'),
        (f"?{'f' * 999}=1", f'unknown query parameter "{"f" * 79}…; known: database'),
        ("?database=rds&database=docs", "the request names different databases"),
    ],
)
def test_a_malformed_query_is_told(put: Put, aws: InMemoryAws, query: str, message: str) -> None:
    before = aws.values()
    assert put({"snapshot": "new"}, query) == (
        400,
        {"Code": "BadRequestError", "Message": message},
    )
    assert aws.values() == before


# --- the log --------------------------------------------------------------------------------------


def test_a_pin_is_one_log_line(
    lines: Callable[[], list[dict[str, Any]]], settings: Settings, aws: InMemoryAws
) -> None:
    wish = {
        "snapshot": "new",
        "reason": "regression of March",
        "deploy": True,
        "database": None,
    }
    _, answer = client_of(settings, aws)({name: told for name, told in wish.items() if told})
    assert lines() == [{"message": "pin", "wish": wish, "caller": KIM, "answer": answer}]


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"snapshot": "unheard-of"}, 404),
        ({"snapshot": "new", "database": "orders"}, 404),
        ({"snapshot": "making"}, 409),
        ({"snapshot": "new", "deploy": True}, 500),
    ],
)
def test_a_refused_or_failed_pin_is_one_log_line_too(
    lines: Callable[[], list[dict[str, Any]]],
    settings: Settings,
    aws: InMemoryAws,
    wish: dict[str, Any],
    status: int,
) -> None:
    def fail(when: str, operation: str) -> None:
        if (when, operation) == ("before", "runs"):
            raise AwsError("ListPipelineExecutions", "pipeline x", "Throttling", "Rate exceeded")

    aws.snapshots.all.append(snapshot("making", status="creating"))
    aws.interrupt = fail
    answered, answer = client_of(settings, aws)(wish)
    assert answered == status
    assert lines() == [
        {
            "message": "pin",
            "wish": {"reason": "", "deploy": False, "database": None} | wish,
            "caller": KIM,
            "refusal": answer["Message"],
        }
    ]


# --- several databases ----------------------------------------------------------------------------


@pytest.fixture
def put_two(aws: InMemoryAws) -> Put:
    settings = Settings.from_environment(TWO)
    return client_of(settings, aws)


def test_one_of_several_databases_must_be_named(put_two: Put) -> None:
    assert put_two({"snapshot": "new"}) == (
        400,
        {"Code": "BadRequestError", "Message": "database is missing: name one of rds, docs"},
    )


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?database=rds", {}),
        ("?database=rds&database=rds", {}),
        ("", {"database": "rds"}),
        ("?database=rds", {"database": "rds"}),
    ],
)
def test_query_or_body_names_the_database(
    put_two: Put, aws: InMemoryAws, query: str, field: dict[str, str]
) -> None:
    assert put_two({"snapshot": "new", **field}, query)[0] == 200
    assert aws.values()[CURRENT] == arn("new")


def test_query_and_body_must_not_name_different_databases(put_two: Put) -> None:
    status, answer = put_two({"snapshot": "new", "database": "docs"}, "?database=rds")
    assert (status, answer["Message"]) == (400, "the request names different databases")
