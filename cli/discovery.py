"""Find the stack in which the main pipeline deploys a database, and the keys of the topics."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import boto3
from botocore.exceptions import BotoCoreError

from cli import mainpipeline
from cli.doctor.look import AcceptanceLook, Look, Unavailable, caller
from cli.stages import AcceptanceStage, Stage

Note = Callable[[str], None]


def find_stack_names(note: Note, stage: AcceptanceStage, names: Sequence[str]) -> dict[str, str]:
    """Return the values of the named settings P_STACK_NAME, as far as they can be found.

    `note` gets a sentence for each value, and for each that was not found.
    """
    why, found = "", {}
    by_parameter: dict[str, list[str]] = {}
    try:
        by_parameter = _places(stage)
    except (BotoCoreError, Unavailable) as error:
        why = str(error)
    for database in stage.settings.databases:
        name, current = database.setting("STACK_NAME"), database.current_parameter
        if name not in names:
            continue
        places = by_parameter.get(current, [])
        if len(places) == 1:
            found[name] = places[0]
            note(f"{name} is {places[0]}, which the main pipeline deploys from {current}")
            continue
        missing = why or (
            f"several clusters read {current}: {', '.join(places)}"
            if places
            else f"no stack of {stage.pipeline} restores a cluster from {current}"
        )
        note(
            f"{name} is not set ({missing.rstrip('.')}). Without it, the refresh relies on the newest "
            "deploy action alone, and does not look at the cluster"
        )
    return found


def _places(stage: AcceptanceStage) -> dict[str, list[str]]:
    """Return STACK or STACK/LOGICAL-ID of each cluster, by the parameter that it is restored from."""
    session = boto3.Session(region_name=stage.region)
    identity, now = caller(session, stage.region)
    account = identity["Account"]
    if account != stage.account:
        why = f"the credentials in use belong to account {account}, not to {stage.account}"
        raise Unavailable("", why)
    look = AcceptanceLook(stage, session, now)
    pipeline = look.pipeline(stage.pipeline)
    if pipeline is None:
        raise Unavailable("", f"there is no pipeline {stage.pipeline}")
    found: dict[str, list[str]] = {}
    for stack in mainpipeline.stacks_of(stage, pipeline):
        # Without a mode, P_STACK_NAME alone names it.
        if stack.mode and (template := look.template(stack)):
            for parameter, place in mainpipeline.places(stack.name, template):
                found.setdefault(parameter, []).append(place)
    return found


def find_topic_keys(note: Note, stage: Stage) -> list[str] | None:
    """Return the customer-managed keys of the stage's topics; None if they cannot be read.

    `note` gets a sentence about what was found, or why nothing was. A topic that does not exist yet is
    made without a key.
    """
    keys: list[str] = []
    try:
        session = boto3.Session(region_name=stage.region)
        look = Look(stage, session, datetime.now(UTC))
        for topic in filter(None, (stage.settings.topic_arn, stage.settings.chat_topic_arn)):
            name = look.topic_key(topic)
            key = look.key(name) if name else None
            if name and key is None:
                note(f"the keys of the topics stay as they were (there is no key {name})")
                return None
            if key and key["KeyManager"] == "CUSTOMER" and key["Arn"] not in keys:
                keys.append(key["Arn"])
                note(f"{topic} is under the key {key['Arn']}, which the functions may use")
    except (BotoCoreError, Unavailable) as error:
        note(f"the keys of the topics stay as they were ({str(error).rstrip('.')})")
        return None
    return keys
