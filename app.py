"""Aurora Refresh: register the functions that the stage has.

An acceptance stage restores, a production stage shares. The triggers are in `chalicelib.triggers`.
"""

import os
from importlib import import_module

from chalice.app import Chalice

from chalicelib.domain import functions
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import context

# Chalice's own log lines go through this application's logger, as JSON.
app = Chalice(app_name=functions.APP, configure_logs=False)

if isinstance(context.stage, Settings):
    triggers = ["update", "restore", "follow_pipeline"]
    if context.stage.has_copies:
        triggers.append("follow_copies")
else:
    triggers = ["share", "follow_shares"]
for trigger in triggers:
    app.register_blueprint(import_module(f"chalicelib.triggers.{trigger}").blueprint)

# Set by `make console`: whose credentials the local server uses, because nobody signs in there.
operator = os.environ.get("OPERATOR_ARN")
if isinstance(context.stage, Settings) and (context.stage.pin_api_enabled or operator):
    from chalicelib.triggers import api

    app.register_blueprint(api.routes(context.stage, context.aws, operator))
