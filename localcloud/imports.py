"""API Gateway takes the API that Chalice sends.

ImportRestApi and PutRestApi accept Swagger 2.0, which API Gateway does (*Import a REST API into API Gateway*)
and moto does not. A stage serves what was imported when it was deployed, not what was imported since.
"""

import json
from typing import Any
from weakref import WeakKeyDictionary

from moto.apigateway import urls
from moto.apigateway.models import RestAPI, Stage
from moto.apigateway.responses import APIGatewayResponse
from moto.apigateway.utils import deserialize_body
from moto.core.common_types import TYPE_RESPONSE

Document = dict[str, Any]

_imported: WeakKeyDictionary[RestAPI, Document] = WeakKeyDictionary()
_deployed: WeakKeyDictionary[Stage, Document] = WeakKeyDictionary()


class SwaggerResponse(APIGatewayResponse):
    """moto's API Gateway, which takes Swagger 2.0."""

    def import_rest_api(self) -> TYPE_RESPONSE:
        """*ImportRestApi* of a Swagger document."""
        title = deserialize_body(self.body)["info"]["title"]
        api = self.backend.create_rest_api(title, "")
        return 201, {"status": 201}, self._put(api)

    def put_rest_api(self) -> TYPE_RESPONSE:
        """*PutRestApi*, of the whole."""
        return 200, {}, self._put(self._api())

    def delete_rest_api(self) -> TYPE_RESPONSE:
        """*DeleteRestApi*, which moto fails with 500 for an API that does not exist."""
        self._api()
        answer: TYPE_RESPONSE = super().delete_rest_api()
        return answer

    def create_deployment(self) -> TYPE_RESPONSE:
        """*CreateDeployment*: the stage serves the API as it is now."""
        api = self._api()
        answer: TYPE_RESPONSE = super().create_deployment()
        stage = api.stages.get(self._get_param("stageName"))
        if stage is not None and api in _imported:
            _deployed[stage] = _imported[api]
        return answer

    def _api(self) -> RestAPI:
        return self.backend.get_rest_api(self.path.split("/")[2])

    def _put(self, api: RestAPI) -> str:
        document = deserialize_body(self.body)
        # moto reads paths and integrations, which Swagger 2.0 and OpenAPI 3 spell alike.
        as_openapi = {name: value for name, value in document.items() if name != "swagger"}
        self.backend.put_rest_api(api.id, as_openapi, fail_on_warnings=False, mode="overwrite")
        for resource in api.resources.values():
            operations = document["paths"].get(resource.get_path(), {})
            for method in resource.resource_methods.values():
                operation = operations.get(method.http_method.lower())
                method.authorization_type = "AWS_IAM" if is_signed(document, operation) else "NONE"
        api.binaryMediaTypes = document.get("x-amazon-apigateway-binary-media-types", [])
        _imported[api] = document
        return json.dumps(api.to_dict())


def document_of(stage: Any) -> Document | None:
    """What the stage serves; None if that is no stage, or of an API that was not imported."""
    return _deployed.get(stage) if isinstance(stage, Stage) else None


def is_signed(document: Document, operation: Document | None) -> bool:
    """Whether a request to the operation must be signed, as its ``security`` says."""
    schemes = document.get("securityDefinitions", {})
    names = [name for each in (operation or {}).get("security", []) for name in each]
    return "awsSigv4" in [schemes[name].get("x-amazon-apigateway-authtype") for name in names]


def install() -> None:
    """Put the API Gateway that takes Swagger in the place of moto's."""
    for path, handler in urls.url_paths.items():
        if handler == APIGatewayResponse.dispatch:
            urls.url_paths[path] = SwaggerResponse.dispatch
