"""Compared with the API Gateway Developer Guide.

The end-to-end tests show that an imported API keeps its authorizers, and that wrong signatures are refused.
"""

import json

from localcloud.client import LocalCloud, send
from tests.localcloud.probe import create_function, permit

SOURCE = """
import json
def handler(event, context):
    return "text" if event["body"] == "fail" else {"statusCode": 201, "body": json.dumps(event)}
"""


def test_the_event_is_that_of_the_proxy_integration_and_the_answer_is_mapped_back(
    cloud: LocalCloud,
) -> None:
    """*Set up Lambda proxy integrations*; *Handling errors with an API Gateway API*, Lambda Developer Guide."""
    function, apigateway = create_function(cloud, SOURCE), cloud.client("apigateway")
    path = f"lambda:path/2015-03-31/functions/{function}/invocations"
    integration = {
        "uri": f"arn:aws:apigateway:eu-west-1:{path}",
        "httpMethod": "POST",
        "type": "aws_proxy",
    }
    document = {
        "swagger": "2.0",
        "info": {"version": "1.0", "title": "things"},
        "paths": {"/open": {"post": {"x-amazon-apigateway-integration": integration}}},
    }
    api = apigateway.import_rest_api(body=json.dumps(document).encode())["id"]
    apigateway.create_deployment(restApiId=api, stageName="api")
    url = f"{cloud.endpoint}/_aws/execute-api/{api}/api/open"

    # What Lambda refuses is an error 500, what the function does wrong an error 502.
    error = '{"message": "Internal server error"}'
    assert send("POST", url, None, {}) == (500, error)
    permit(cloud, "apigateway", f"arn:aws:execute-api:eu-west-1:222222222222:{api}/*")
    assert send("POST", url, b"fail", {}) == (502, error)

    status, text = send("POST", f"{url}?a=1&a=2&b=x%2Fy", "Grüße".encode(), {"X-Test": "yes"})
    event = json.loads(text)
    headers, many_headers = event.pop("headers"), event.pop("multiValueHeaders")
    assert (status, headers["X-Test"], many_headers["X-Test"]) == (201, "yes", ["yes"])
    assert event == {
        "resource": "/open",
        "path": "/open",
        "httpMethod": "POST",
        "queryStringParameters": {"a": "2", "b": "x/y"},
        "multiValueQueryStringParameters": {"a": ["1", "2"], "b": ["x/y"]},
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "POST",
            "identity": {"accountId": None, "userArn": None},
            "path": "/api/open",
            "resourcePath": "/open",
            "stage": "api",
        },
        "body": "Grüße",
        "isBase64Encoded": False,
    }
