"""Aurora Refresh: register the functions that the stage has.

An acceptance stage restores, a production stage shares. The triggers are in `chalicelib.triggers`.
"""

from importlib import import_module

from chalice.app import Chalice

from chalicelib.domain import functions
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import context

# Chalice's own log lines go through this application's logger, as JSON.
app = Chalice(app_name=functions.APP, configure_logs=False)

if isinstance(context.stage, Settings):
    triggers = ["update", "restore", "follow_pipeline", "reconcile"]
else:
    triggers = ["share", "follow_shares"]
for trigger in triggers:
    app.register_blueprint(import_module(f"chalicelib.triggers.{trigger}").blueprint)

if isinstance(context.stage, Settings) and context.stage.pin_api_enabled:
    from chalicelib.triggers import api

    app.register_blueprint(api.routes(context.stage, context.aws))
