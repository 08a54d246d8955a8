"""Find the stack in which the main pipeline deploys a database, and the keys of the topics."""

from collections.abc import Callable, Sequence

from botocore.exceptions import BotoCoreError

from chalicelib.domain.errors import AwsError
from cli.doctor.look import AcceptanceLook, Look
from cli.stages import AcceptanceStage, Stage

Note = Callable[[str], None]


def find_stack_names(note: Note, stage: AcceptanceStage, names: Sequence[str]) -> dict[str, str]:
    """Return the values of the named settings P_STACK_NAME, as far as they can be found.

    `note` gets a sentence for each value, and for each that was not found.
    """
    found = {}
    places, why = _places(stage)
    for database in stage.settings.databases:
        name, current = database.setting("STACK_NAME"), database.current_parameter
        if name not in names:
            continue
        of_database = places.get(current, [])
        if len(of_database) == 1:
            found[name] = of_database[0]
            note(f"{name} is {found[name]}, which the main pipeline deploys from {current}")
            continue
        missing = why or f"no stack of {stage.pipeline} restores a cluster from {current}"
        if of_database:
            missing = f"several clusters read {current}: {', '.join(of_database)}"
        note(
            f"{name} is not set ({missing.rstrip('.')}). Without it, the refresh relies on the newest "
            "deploy action alone, and does not look at the cluster"
        )
    return found


def _places(stage: AcceptanceStage) -> tuple[dict[str, list[str]], str]:
    """Return STACK or STACK/LOGICAL-ID of the clusters restored from each *current*, or why they are unknown."""
    try:
        look = AcceptanceLook(stage)
        if (account := look.caller()["Account"]) != stage.account:
            return {}, f"the credentials in use belong to account {account}, not to {stage.account}"
        if look.pipeline(stage.pipeline) is None:
            return {}, f"there is no pipeline {stage.pipeline}"
        databases = stage.settings.databases
        return {each.current_parameter: look.places(each) for each in databases}, ""
    except (BotoCoreError, AwsError) as error:
        return {}, str(error)


def find_topic_keys(note: Note, stage: Stage) -> list[str] | None:
    """Return the customer-managed keys of the stage's topics; None if they cannot be read.

    `note` gets a sentence about what was found, or why nothing was. A topic that does not exist yet is
    made without a key.
    """
    keys: list[str] = []
    try:
        look = Look(stage)
        for topic in filter(None, (stage.settings.topic_arn, stage.settings.chat_topic_arn)):
            name = look.topic_key(topic)
            key = look.key(name) if name else None
            if name and key is None:
                note(f"the keys of the topics stay as they were (there is no key {name})")
                return None
            if key and key["KeyManager"] == "CUSTOMER" and key["Arn"] not in keys:
                keys.append(key["Arn"])
                note(f"{topic} is under the key {key['Arn']}, which the functions may use")
    except (BotoCoreError, AwsError) as error:
        note(f"the keys of the topics stay as they were ({str(error).rstrip('.')})")
        return None
    return keys
