"""Aurora Refresh: the triggers. Each parses its event, calls one use case, and holds no rule.

Each imports its own use case alone: most of a cold start is import.
"""

import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

# Before botocore, which imports it from a deep stack: CPython 3.11 maps and unmaps memory at each call
# that crosses the end of its stack's first 16 KiB, and compiling urllib3's regular expressions there
# does so 2,300 times, which is a twentieth of a cold start.
import urllib3  # noqa: F401 (see above)

# isort: split
import botocore.session
from chalice.app import Chalice, CloudWatchEvent

from chalicelib import functions, logs, measures
from chalicelib.answers import Answer
from chalicelib.aws import Aws
from chalicelib.errors import RefreshError, SettingsError
from chalicelib.settings import Settings

try:
    settings = Settings.from_environment(os.environ)
except SettingsError as error:
    # Chalice would print a stack trace for any other exception, which helps nobody mend a setting.
    sys.exit(str(error))

# Chalice logs under the app's name, too: its lines go through our logger, as JSON.
app = Chalice(app_name=functions.APP, configure_logs=False)
world = Aws(botocore.session.get_session().create_client, settings.topic_arn)
logger = logs.logger("aurora-refresh")
stage = functions.stage_of(os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"))


def answered(use_case: str, event: CloudWatchEvent, ask: Callable[[], Answer]) -> dict[str, Any]:
    """Ask a use case; its answer is logged with its grounds, counted, and returned."""
    try:
        answer = ask()
    except RefreshError:
        count(measures.of_error([database.name for database in settings.databases]))
        raise
    grounds = {"use_case": use_case, "event": event.to_dict(), "answer": answer.to_json()}
    logger.info("decision", extra={"correlation_id": event.event_id, **grounds})
    count(measures.of_answer(use_case, answer))
    return answer.to_json()


def count(counted: list[measures.Measure]) -> None:
    """Write the measures as CloudWatch's embedded metrics, which are lines of the log."""
    for measure in counted:
        logs.count(measure, "AuroraRefresh", stage)


@app.schedule(str(settings.update_schedule), name=functions.UPDATE)
def update_latest_snapshot_id(event: CloudWatchEvent) -> dict[str, Any]:
    from chalicelib import latest

    return answered("update", event, lambda: latest.update(settings, world, scheduled(event)))


@app.schedule(str(settings.restore_schedule), name=functions.RESTORE)
def restore_from_snapshot(event: CloudWatchEvent) -> dict[str, Any]:
    from chalicelib import refresh

    return answered("promote", event, lambda: refresh.promote(settings, world, scheduled(event)))


if settings.has_copies:

    @app.schedule(functions.COPIES_SCHEDULE, name=functions.FOLLOW_COPIES)
    def follow_copies(event: CloudWatchEvent) -> dict[str, Any]:
        from chalicelib import latest

        return answered(
            "copies", event, lambda: latest.follow_copies(settings, world, scheduled(event))
        )


@app.on_cw_event(
    {
        "source": ["aws.codepipeline"],
        "detail-type": ["CodePipeline Pipeline Execution State Change"],
        "detail": {"state": list(functions.FINAL_STATES)},
    },
    name=functions.FOLLOW_PIPELINE,
)
def follow_pipeline(event: CloudWatchEvent) -> dict[str, Any]:
    from chalicelib import follow

    detail = event.detail
    ended = follow.Ended(detail["pipeline"], detail["execution-id"], detail["state"])
    return answered("follow", event, lambda: follow.follow(settings, world, ended))


def scheduled(event: CloudWatchEvent) -> datetime:
    return datetime.fromisoformat(event.to_dict()["time"])


# Set by `make console`: whose credentials a local server uses, which signs nobody in.
operator = os.environ.get("OPERATOR_ARN")
# Lambda tells which handler it starts. The routes are the API's alone, and a trigger's cold start
# does without all that they import. Where nothing is told, it is Chalice that looks at the app.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
if os.environ.get("_HANDLER", "app.app") == "app.app" and (settings.pin_api_enabled or operator):
    from chalicelib import api

    app.register_blueprint(api.routes(settings, world, operator))
