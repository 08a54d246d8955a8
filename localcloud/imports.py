"""API Gateway takes the API that Chalice sends.

ImportRestApi and PutRestApi accept Swagger 2.0, which API Gateway does (*Import a REST API into API Gateway*)
and moto does not. A stage serves what was imported when it was deployed, not what was imported since.
"""

import json
from typing import Any
from weakref import WeakKeyDictionary

from moto.apigateway import urls
from moto.apigateway.models import APIGatewayBackend, RestAPI, Stage
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
        document = deserialize_body(self.body)
        api = self.backend.create_rest_api(document["info"]["title"], _description(document))
        _put(self.backend, api, document, "overwrite")
        return 201, {"status": 201}, json.dumps(api.to_dict())

    def delete_rest_api(self) -> TYPE_RESPONSE:
        """*DeleteRestApi*, which moto fails with 500 for an API that does not exist."""
        self.backend.get_rest_api(self.path.split("/")[2])
        answer: TYPE_RESPONSE = super().delete_rest_api()
        return answer

    def put_rest_api(self) -> TYPE_RESPONSE:
        """*PutRestApi*, mode merge or overwrite."""
        api = self.backend.get_rest_api(self.path.split("/")[2])
        _put(self.backend, api, deserialize_body(self.body), self._get_param("mode", "merge"))
        return 200, {}, json.dumps(api.to_dict())

    def create_deployment(self) -> TYPE_RESPONSE:
        """*CreateDeployment*: the stage serves the API as it is now."""
        api = self.backend.get_rest_api(self.path.split("/")[2])
        answer: TYPE_RESPONSE = super().create_deployment()
        stage = api.stages.get(self._get_param("stageName"))
        if stage is not None and api in _imported:
            _deployed[stage] = _imported[api]
        return answer


def _put(backend: APIGatewayBackend, api: RestAPI, document: Document, mode: str) -> None:
    # moto reads paths and integrations, which Swagger 2.0 and OpenAPI 3 spell alike.
    as_openapi = {name: value for name, value in document.items() if name != "swagger"}
    backend.put_rest_api(api.id, as_openapi, fail_on_warnings=False, mode=mode)
    for resource in api.resources.values():
        for method in resource.resource_methods.values():
            operation = (
                document["paths"]
                .get(resource.get_path(), {})
                .get(key_of_method(method.http_method))
            )
            if operation is not None:
                iam = authorization_of(document, operation) == "AWS_IAM"
                method.authorization_type = "AWS_IAM" if iam else "NONE"
    api.binaryMediaTypes = document.get("x-amazon-apigateway-binary-media-types", [])
    known = _imported.get(api, {}) if mode == "merge" else {}
    merged = {**known, **document, "paths": {**known.get("paths", {}), **document["paths"]}}
    _imported[api] = merged


def document_of(stage: Any) -> Document | None:
    """What the stage serves; None if that is no stage, or of an API that was not imported."""
    return _deployed.get(stage) if isinstance(stage, Stage) else None


def key_of_method(method: str) -> str:
    """How a path of a document names the method."""
    return "x-amazon-apigateway-any-method" if method == "ANY" else method.lower()


def _description(document: Document) -> str:
    return str(document["info"].get("description", ""))


def authorization_of(document: Document, operation: Document) -> str:
    """AWS_IAM or NONE as the method's ``security`` says; OTHER for what is not restored here."""
    security = operation.get("security", [])
    if not security:
        return "NONE"
    schemes = [document.get("securityDefinitions", {}).get(name, {}) for name in security[0]]
    kinds = {scheme.get("x-amazon-apigateway-authtype") for scheme in schemes}
    return "AWS_IAM" if kinds == {"awsSigv4"} else "OTHER"


def install() -> None:
    """Put the API Gateway that takes Swagger in the place of moto's."""
    for path, handler in urls.url_paths.items():
        if handler == APIGatewayResponse.dispatch:
            urls.url_paths[path] = SwaggerResponse.dispatch
