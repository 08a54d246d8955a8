"""A throw-away app with one trigger of each kind, for the tests of the local cloud."""

import os
from datetime import UTC, datetime
from typing import Any

import boto3
from chalice import Chalice, Cron, IAMAuthorizer

app = Chalice(app_name="tiny")


@app.schedule(Cron("0", "4", "?", "*", "SUN", "*"), name="nightly")
def nightly(event: Any) -> dict[str, Any]:
    app.log.info("scheduled for %s", event.time)
    return {
        "event": event.to_dict(),
        "now": datetime.now(UTC).isoformat(),
        "who": boto3.client("sts").get_caller_identity()["Arn"],
    }


@app.on_cw_event({"source": ["aws.codepipeline"], "detail": {"state": ["FAILED"]}}, name="follow")
def follow(event: Any) -> dict[str, Any]:
    if event.detail["pipeline"] == "broken":
        raise RuntimeError("broken")
    return dict(event.detail)


@app.route("/things/{name}", methods=["GET", "PUT"], authorizer=IAMAuthorizer())
def things(name: str) -> dict[str, Any]:
    request = app.current_request
    return {
        "name": name,
        "method": request.method,
        "body": request.json_body,
        "query": dict(request.query_params or {}),
        "identity": request.context["identity"],
        "stage": os.environ["STAGE"],
    }
