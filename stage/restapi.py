"""The REST APIs that Chalice made for a stage, found by the function that they lead to.

Chalice knows its API by a note of its own, which git ignores: without it, in another clone or after a
deployment that came to nothing, it makes another API, at another address. All else it finds by name.
"""

import json
from pathlib import Path
from typing import Any

from stage.config import written
from stage.policies import API, APP, deployed_name

Json = dict[str, Any]


def note_of(stage: str) -> str:
    """Where Chalice notes what it has deployed."""
    return f".chalice/deployed/{stage}.json"


def deletion(api: str) -> str:
    """The command that deletes one."""
    return f"aws apigateway delete-rest-api --rest-api-id {api}"


def leading_to(client: Any, stage: str) -> list[str]:
    """The ids of the REST APIs that lead to the stage's function, oldest first.

    https://docs.aws.amazon.com/apigateway/latest/api/API_GetResources.html
    """
    function = f":function:{deployed_name(stage, API)}/invocations"
    found = [
        (api["createdDate"], api["id"])
        for page in client.get_paginator("get_rest_apis").paginate()
        for api in page["items"]
        if api["name"] == APP and _leads(client, api["id"], function)
    ]
    return [api for _, api in sorted(found)]


def _leads(client: Any, api: str, function: str) -> bool:
    pages = client.get_paginator("get_resources").paginate(restApiId=api, embed=["methods"])
    return any(
        method.get("methodIntegration", {}).get("uri", "").endswith(function)
        for page in pages
        for resource in page["items"]
        for method in resource.get("resourceMethods", {}).values()
    )


def noted(project: Path, stage: str) -> str | None:
    """The id of the API that Chalice's note names."""
    for resource in _note(project, stage)["resources"]:
        if resource["resource_type"] == "rest_api":
            return str(resource["rest_api_id"])
    return None


def note(project: Path, stage: str, api: str) -> None:
    """Have Chalice find the API again."""
    document = _note(project, stage)
    others = [each for each in document["resources"] if each["resource_type"] != "rest_api"]
    known = {"name": "rest_api", "resource_type": "rest_api", "rest_api_id": api}
    file = project / note_of(stage)
    file.parent.mkdir(exist_ok=True)
    file.write_text(written(document | {"resources": [*others, known]}), encoding="utf-8")


def _note(project: Path, stage: str) -> Json:
    file = project / note_of(stage)
    if not file.is_file():
        return {"resources": [], "schema_version": "2.0", "backend": "api"}
    document: Json = json.loads(file.read_text(encoding="utf-8"))
    return document
