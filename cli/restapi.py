"""The REST APIs that Chalice made for a stage, found by the function that they invoke."""

from typing import Any

from chalicelib.domain.functions import API, APP, deployed_name


def invoking(client: Any, stage: str) -> list[str]:
    """Return the ids of the REST APIs that invoke the stage's function, by creation time and id.

    https://docs.aws.amazon.com/apigateway/latest/api/API_GetResources.html
    """
    function = f":function:{deployed_name(stage, API)}/invocations"
    apis = client.get_paginator("get_rest_apis").paginate()
    named = sorted(apis.search(f"items[?name == '{APP}'].[createdDate, id]"))
    return [api for _, api in named if _invokes(client, api, function)]


def _invokes(client: Any, api: str, function: str) -> bool:
    pages = client.get_paginator("get_resources").paginate(restApiId=api, embed=["methods"])
    try:
        uris = pages.search("items[].resourceMethods.*[].methodIntegration.uri")
        return any(uri.endswith(function) for uri in uris)
    except client.exceptions.NotFoundException:
        return False  # deleted since it was listed
