"""docs/openapi.yaml is held against the application: its routes, its fields, its limits."""

import importlib
import logging
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from chalice.app import IAMAuthorizer
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from chalicelib.triggers import validation
from chalicelib.triggers.api import ACTIONS
from tests.stage import STAGE

Json = dict[str, Any]

FILE = Path(__file__).parents[1] / "docs/openapi.yaml"
DOCUMENT: Json = yaml.safe_load(FILE.read_text())
SCHEMAS: Json = DOCUMENT["components"]["schemas"]
OPERATIONS: dict[tuple[str, str], Json] = {
    (method.upper(), path): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """app.py as ``chalice deploy`` imports it."""
    for name, value in (STAGE | {"AWS_DEFAULT_REGION": "eu-west-1"}).items():
        monkeypatch.setenv(name, value)
    forget()
    yield importlib.import_module("app")
    forget()


def forget() -> None:
    sys.modules.pop("app", None)
    logger = logging.getLogger("aurora-refresh")
    logger.handlers, logger.propagate = [], True  # it holds the old stdout


def resolved(part: Json) -> Json:
    """What a ``$ref`` leads to."""
    while "$ref" in part:
        found: Any = DOCUMENT
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def parts(root: Any, where: str = "#") -> Iterator[tuple[str, Json]]:
    """Every object of the document, with the place where it stands."""
    if isinstance(root, dict):
        yield where, root
        for name, part in root.items():
            yield from parts(part, f"{where}/{name}")
    elif isinstance(root, list):
        for index, part in enumerate(root):
            yield from parts(part, f"{where}/{index}")


def schema_of(operation: Json) -> Json:
    """The schema of an operation's body, as that of no field where there is no body."""
    if "requestBody" not in operation:
        return {"properties": {}}
    return resolved(operation["requestBody"]["content"]["application/json"]["schema"])


def _absolute(part: Any) -> Any:
    """The same in Python's regular expressions, whose $ matches before a last line end, too."""
    if isinstance(part, dict):
        return {
            name: each.removesuffix("$") + r"\Z" if name == "pattern" else _absolute(each)
            for name, each in part.items()
        }
    return [_absolute(each) for each in part] if isinstance(part, list) else part


_COMPONENTS = _absolute(DOCUMENT["components"])


def validator_of(schema: Json) -> Any:
    whole = {**_absolute(schema), "components": _COMPONENTS}
    return OAS31Validator(whole, format_checker=OAS31Validator.FORMAT_CHECKER)


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_the_document_has_the_app_s_routes_and_no_other(app: ModuleType) -> None:
    routes = {(method, path) for path, methods in app.app.routes.items() for method in methods}
    assert set(OPERATIONS) == routes


def test_every_route_carries_the_authorizer_that_the_document_promises(app: ModuleType) -> None:
    assert DOCUMENT["security"] == [{"sigv4": []}]
    scheme = DOCUMENT["components"]["securitySchemes"]["sigv4"]
    assert scheme["x-amazon-apigateway-authtype"] == "awsSigv4"
    for (method, path), operation in OPERATIONS.items():
        assert "security" not in operation  # which would replace what holds for all
        assert isinstance(app.app.routes[path][method].authorizer, IAMAuthorizer)


def test_every_operation_says_who_is_refused_and_what_else_may_go_wrong() -> None:
    for operation in OPERATIONS.values():
        assert operation["summary"]
        assert {"200", "400", "403", "415", "500"} <= set(operation["responses"])


def test_no_object_may_hold_what_is_not_written() -> None:
    objects = [
        (where, part)
        for where, part in parts(SCHEMAS)
        if part.get("type") == "object" or "properties" in part
    ]
    assert len(objects) > 20
    for where, part in objects:
        assert part.get("additionalProperties") is False, where
        assert set(part.get("required", [])) <= set(part["properties"]), where


def test_an_answer_always_has_all_its_fields_but_those_of_a_run_and_its_data() -> None:
    optional = {
        (where, name)
        for where, part in parts(SCHEMAS)
        if isinstance(part.get("properties"), dict) and not where.endswith("Request")
        for name in set(part["properties"]) - set(part.get("required", []))
    }
    assert optional == {
        ("#/Refresh", "execution_id"),
        ("#/RefreshedDatabase", "created"),
        ("#/RefreshedDatabase", "age_hours"),
    }


def test_every_schema_is_used() -> None:
    refs = {part["$ref"] for _, part in parts(DOCUMENT) if isinstance(part.get("$ref"), str)}
    kinds = ("schemas", "responses", "parameters")
    assert refs == {
        f"#/components/{kind}/{name}" for kind in kinds for name in DOCUMENT["components"][kind]
    }


def test_every_example_is_one() -> None:
    shown = [
        (where, example["value"], part["schema"])
        for where, part in parts(DOCUMENT)
        if "schema" in part
        for example in part.get("examples", {}).values()
    ]
    assert len(shown) > 15
    for where, value, schema in shown:
        assert not list(validator_of(schema).iter_errors(value)), where


def test_every_body_and_every_answer_has_an_example() -> None:
    contents = [
        (where, kind)
        for where, part in parts(DOCUMENT)
        for kind in (part.get("content") or {}).items()
        if isinstance(part.get("content"), dict)
    ]
    assert {
        where
        for where, (media, content) in contents
        if media == "application/json" and not content.get("examples")
    } == set()


def test_a_route_does_what_its_operation_is_called(app: ModuleType) -> None:
    assert {key: operation["operationId"] for key, operation in OPERATIONS.items()} == {
        (method, path): route.view_function.__name__
        for path, methods in app.app.routes.items()
        for method, route in methods.items()
    }


def test_a_body_has_the_declared_fields_and_no_other() -> None:
    acting = {each["operationId"]: each for each in OPERATIONS.values()}
    assert ACTIONS.keys() <= acting.keys()
    for name, action in ACTIONS.items():
        written = schema_of(acting[name])
        kinds = {str: "string", bool: "boolean"}
        declared = {each.name: each for each in action.fields}
        assert {field: (kinds[each.kind], each.default) for field, each in declared.items()} == {
            field: (type_of(schema), resolved(schema).get("default"))
            for field, schema in written["properties"].items()
        }, name
        assert {field for field, each in declared.items() if each.required} == set(
            written.get("required", [])
        ), name


def type_of(schema: Json) -> str:
    """The one type that all of a schema's alternatives have."""
    schema = resolved(schema)
    (kind,) = {resolved(each)["type"] for each in schema.get("anyOf", [schema])}
    return str(kind)


def test_a_body_is_json_and_must_be_there() -> None:
    for operation in OPERATIONS.values():
        fields = ACTIONS[operation["operationId"]].fields if takes_fields(operation) else ()
        assert bool(fields) == ("requestBody" in operation)
        if fields:
            body = operation["requestBody"]
            assert (body["required"], list(body["content"])) == (True, ["application/json"])


def takes_fields(operation: Json) -> bool:
    return operation["operationId"] in ACTIONS


def test_a_database_may_be_named_in_the_query_wherever_in_the_body() -> None:
    for operation in OPERATIONS.values():
        if takes_fields(operation):
            parameters = [resolved(each)["name"] for each in operation.get("parameters", [])]
            named = validation.DATABASE in ACTIONS[operation["operationId"]].fields
            assert parameters == (["database"] if named else [])


def reads(field: validation.Field, text: str) -> bool:
    try:
        field.read(text)
    except ValueError:
        return False
    return True


ARN = "arn:aws:rds:eu-west-1:111111111111:cluster-snapshot:"
LIMITS = {
    "snapshot": (validation.SNAPSHOT, SCHEMAS["PinRequest"]["properties"]["snapshot"]),
    "reason": (validation.REASON, SCHEMAS["Reason"]),
    "until": (validation.UNTIL, SCHEMAS["Day"]),
}
TEXTS = [
    "",
    "latest",
    "a",
    "1a",
    *("A1", "-a", "a--b", "a-", "a_b", "a b", "a\x00", "rds:", "../../a", "*", "%41", "a" * 600),
    "rds:a-2026-01-01",
    "a:b",
    "a" * validation.IDENTIFIER_LIMIT,
    "a" * (validation.IDENTIFIER_LIMIT + 1),
    "a\n",
    ARN,
    f"{ARN}a",
    f"{ARN}a\n",
    f"{ARN}rds:a--b-",
    f"{ARN}1",
    f"{ARN}{'a' * (validation.ARN_LIMIT - len(ARN))}",
    f"{ARN}{'a' * (validation.ARN_LIMIT - len(ARN) + 1)}",
    ARN.replace("aws", "aws-cn") + "a",
    ARN.replace("cluster-snapshot", "snapshot") + "a",
    ARN.replace("111111111111", "1") + "a",
    ARN.replace("111111111111", "٣" * 12) + "a",
    "é" * validation.REASON_LIMIT,
    "\U0001f600" * validation.REASON_LIMIT,
    "\U0001f600" * (validation.REASON_LIMIT + 1),
    "because\n",
    "2026-01-22",
    "2026-01-22\n",
    "2026-1-22",
    "2026-02-30",
    "0000-01-01",
    "9999-12-31",
    "20260122",
    "2026-W04-4",
    "2026-01-22T00:00:00",
    "٢٠٢٦-01-22",
]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_text_is_refused_where_the_document_says_so(name: str, text: str) -> None:
    field, schema = LIMITS[name]
    assert validator_of(schema).is_valid(text) == reads(field, text)


def test_the_characters_that_no_reason_may_have_are_all_written() -> None:
    reason = validator_of(SCHEMAS["Reason"])
    characters = [chr(code) for code in range(0x110000)]
    # Half a surrogate pair is no character to JSON Schema; one that this Python does not know yet
    # may be invisible to a later one.
    known = [each for each in characters if unicodedata.category(each) not in ("Cs", "Cn")]
    assert [each for each in known if reason.is_valid(each) != reads(validation.REASON, each)] == []
