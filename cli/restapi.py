"""The REST APIs that Chalice made for a stage, found by the function that they invoke.

Chalice finds its API only by a file that git ignores. Without it, in another clone or after a failed
deployment, Chalice makes another API with another address. It finds everything else by name.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chalicelib.domain.functions import API, APP, deployed_name

Json = dict[str, Any]


def record_of(stage: str) -> str:
    """Return the file in which Chalice records what it has deployed."""
    return f".chalice/deployed/{stage}.json"


def deletion(api: str) -> str:
    """Return the command that deletes an API."""
    return f"aws apigateway delete-rest-api --rest-api-id {api}"


def invoking(client: Any, stage: str) -> list[str]:
    """Return the ids of the REST APIs that invoke the stage's function, by creation time and id.

    https://docs.aws.amazon.com/apigateway/latest/api/API_GetResources.html
    """
    function = f":function:{deployed_name(stage, API)}/invocations"
    found = [
        (api["createdDate"], api["id"])
        for page in client.get_paginator("get_rest_apis").paginate()
        for api in page["items"]
        if api["name"] == APP and _invokes(client, api["id"], function)
    ]
    return [api for _, api in sorted(found)]


def _invokes(client: Any, api: str, function: str) -> bool:
    pages = client.get_paginator("get_resources").paginate(restApiId=api, embed=["methods"])
    try:
        return any(
            method.get("methodIntegration", {}).get("uri", "").endswith(function)
            for page in pages
            for resource in page["items"]
            for method in resource.get("resourceMethods", {}).values()
        )
    except client.exceptions.NotFoundException:
        return False  # deleted since it was listed


def record(project: Path, stage: str, apis: Sequence[str]) -> None:
    """Have Chalice find the recorded one of the APIs again, or else the first.

    Without one, have it forget what belongs to an API: it would fail to delete what another clone has
    deleted.
    """
    found = _resources(project, stage)
    known = [each["rest_api_id"] for each in found if each["name"] == "rest_api"]
    own = ("rest_api",) if apis else ("rest_api", API, f"{API}_role")
    resources = [each for each in found if each["name"] not in own]
    if apis:
        api = next((each for each in known if each in apis), apis[0])
        resources.append({"name": "rest_api", "resource_type": "rest_api", "rest_api_id": api})
    document = {"resources": resources, "schema_version": "2.0", "backend": "api"}
    file = project / record_of(stage)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document), encoding="utf-8")


def _resources(project: Path, stage: str) -> list[Json]:
    """Return what Chalice has recorded; nothing if it was killed while writing."""
    try:
        resources: list[Json] = json.loads((project / record_of(stage)).read_bytes())["resources"]
    except (FileNotFoundError, ValueError):
        return []
    return resources
