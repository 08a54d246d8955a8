"""Aurora Refresh: register the functions that the stage has, each with what invokes it.

An acceptance stage restores, a production stage shares. Each function is deployed with a module of
`chalicelib.triggers` as its handler, so a cold start imports neither Chalice nor the other triggers.
"""

from importlib import import_module

from chalice.app import Blueprint, Chalice

from chalicelib.domain import functions
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import context

# Chalice's own log lines go through this application's logger, as JSON.
app = Chalice(app_name=functions.APP, configure_logs=False)
stage = context.stage

for function, rule in stage.rules.items():
    trigger = import_module(f"chalicelib.triggers.{functions.TRIGGERS[function]}")
    blueprint = Blueprint(trigger.__name__)
    on = blueprint.schedule if isinstance(rule, str) else blueprint.on_cw_event
    on(rule, name=function)(trigger.handler)
    app.register_blueprint(blueprint)
    # Chalice registers a wrapper that passes an event object of its own. Lambda, and so Chalice's
    # test client, calls the handler itself.
    app.handler_map[function] = trigger.handler

if isinstance(stage, Settings) and stage.pin_api_enabled:
    from chalicelib.triggers import api

    app.register_blueprint(api.routes(stage, context.aws))
