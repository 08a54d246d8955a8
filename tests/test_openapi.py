"""docs/openapi.yaml is held against the application: its routes, its fields, its limits."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from chalice.app import IAMAuthorizer
from jsonschema import ValidationError, validators
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from chalicelib.triggers import validation
from chalicelib.triggers.api import ROUTES
from tests.stage import forget_app, import_app

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
    yield import_app(monkeypatch)
    forget_app()


def resolved(part: Json) -> Json:
    """Return what a ``$ref`` leads to."""
    while "$ref" in part:
        found: Any = DOCUMENT
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def parts(root: Any, where: str = "#") -> Iterator[tuple[str, Json]]:
    """Yield every object of the document, with the place where it stands."""
    if isinstance(root, dict):
        yield where, root
    if isinstance(root, dict | list):
        for name, part in root.items() if isinstance(root, dict) else enumerate(root):
            yield from parts(part, f"{where}/{name}")


def _pattern(_: Any, pattern: str, text: Any, schema: Json) -> Iterator[ValidationError]:
    """Take $ for the end, as JSON Schema does; Python's also matches before a last line end."""
    if isinstance(text, str) and not re.search(pattern.removesuffix("$") + r"\Z", text):
        yield ValidationError(f"{text!a} does not match {pattern}")


_Validator = validators.extend(OAS31Validator, {"pattern": _pattern})


def validator_of(schema: Json) -> Any:
    whole = {**schema, "components": DOCUMENT["components"]}
    return _Validator(whole, format_checker=OAS31Validator.FORMAT_CHECKER)


# --- the document ---------------------------------------------------------------------------------


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_an_object_holds_what_is_written_and_an_answer_all_of_it() -> None:
    optional = {"execution_id", "created", "age_hours"}  # of a refresh
    objects = [(where, part) for where, part in parts(SCHEMAS) if part.get("type") == "object"]
    assert len(objects) > 20
    for where, part in objects:
        assert part["additionalProperties"] is False, where
        assert set(part.get("required", [])) <= part["properties"].keys(), where
        left_out = part["properties"].keys() - part.get("required", [])
        assert left_out <= optional or where.endswith("Request"), where


def test_every_body_and_every_answer_has_an_example_which_is_one() -> None:
    contents = [each for each in parts(DOCUMENT) if each[0].endswith("/application/json")]
    assert len(contents) > 10
    for where, content in contents:
        examples = [resolved(each)["value"] for each in content["examples"].values()]
        assert examples, where
        assert all(map(validator_of(content["schema"]).is_valid, examples)), where


# --- the routes -----------------------------------------------------------------------------------


def test_the_document_has_the_app_s_routes_each_behind_the_authorizer(app: ModuleType) -> None:
    found = app.app.routes.items()
    routes = {(verb, path): route for path, verbs in found for verb, route in verbs.items()}
    assert {key: operation["operationId"] for key, operation in OPERATIONS.items()} == {
        key: route.view_function.__name__ for key, route in routes.items()
    }
    assert all(isinstance(route.authorizer, IAMAuthorizer) for route in routes.values())
    assert DOCUMENT["security"] == [{"sigv4": []}]
    scheme = DOCUMENT["components"]["securitySchemes"]["sigv4"]
    assert scheme["x-amazon-apigateway-authtype"] == "awsSigv4"
    # One of an operation's own would replace what holds for all.
    assert all("security" not in operation for operation in OPERATIONS.values())


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each["operationId"])
def test_a_body_has_the_declared_fields_and_no_other(operation: Json) -> None:
    (route,) = (each for each in ROUTES if each.name == operation["operationId"])
    declared = {each.name: each for each in route.fields}
    query = [resolved(each)["name"] for each in operation.get("parameters", [])]
    assert query == (["database"] if "database" in declared else [])
    if route.method == "GET" or not declared:
        assert "requestBody" not in operation
        return
    body = operation["requestBody"]
    assert body.get("required", False) == any(each.required for each in route.fields)
    assert list(body["content"]) == ["application/json"]
    schema = resolved(body["content"]["application/json"]["schema"])
    kinds = {str: "string", bool: "boolean"}
    assert {
        field: (kinds[each.kind], each.default, each.required) for field, each in declared.items()
    } == {
        field: (type_of(each), resolved(each).get("default"), field in schema.get("required", []))
        for field, each in schema["properties"].items()
    }


def type_of(schema: Json) -> str:
    """Return the one type that all of a schema's alternatives have."""
    schema = resolved(schema)
    (kind,) = {resolved(each)["type"] for each in schema.get("anyOf", [schema])}
    return str(kind)


# --- the limits -----------------------------------------------------------------------------------


def reads(field: validation.Field, text: str) -> bool:
    try:
        field.read(text)
    except ValueError:
        return False
    return True


ARN = "arn:aws:rds:eu-west-1:111111111111:cluster-snapshot:"
LONGEST = "a" * (validation.ARN_LIMIT - len(ARN))
LONGEST_NAME = "a" * validation.IDENTIFIER_LIMIT
FACE = "\U0001f600"
LIMITS = {
    "snapshot": (validation.SNAPSHOT, SCHEMAS["PinRequest"]["properties"]["snapshot"]),
    "reason": (validation.REASON, SCHEMAS["Reason"]),
    "until": (validation.UNTIL, SCHEMAS["Day"]),
}
TEXTS = [
    *("", "latest", "1a", "A1", "-a", "a--b", "a-", "a_b", "a b", "a\x00", "a\n", "a:b", "rds:"),
    *("rds:a-2026-01-01", LONGEST_NAME, f"{LONGEST_NAME}a"),
    *(f"{ARN}{each}" for each in ("", "a", "a\n", "rds:a--b-", "1", LONGEST, f"{LONGEST}a")),
    *(f"{ARN}a".replace("aws", "aws-cn"), f"{ARN}a".replace("cluster-snapshot", "snapshot")),
    *(f"{ARN}a".replace("111111111111", account) for account in ("1", "٣" * 12)),
    *(FACE * validation.REASON_LIMIT, FACE * (validation.REASON_LIMIT + 1)),
    *("2026-01-22", "2026-01-22\n", "2026-1-22", "2026-02-30", "20260122", "2026-W04-4"),
    *("0000-01-01", "9999-12-31", "2026-01-22T00:00:00", "٢٠٢٦-01-22"),
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
