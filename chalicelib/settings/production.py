"""A production stage's environment variables as one validated, frozen object."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib.domain import functions
from chalicelib.domain.errors import Problem, SettingsError
from chalicelib.domain.schedule import Expression
from chalicelib.domain.shares import SharePolicy
from chalicelib.settings.variables import (
    KEY,
    TOPIC,
    Variable,
    at_least_one,
    cluster_identifier,
    list_of,
    matching,
    probable_typos,
    read,
)


class ProductionSettings(NamedTuple):
    """The settings of a production stage, which shares its snapshots with `share_with`."""

    clusters: tuple[str, ...]
    share_with: str
    key: str | None
    keep: int
    schedule: Expression
    topic_arn: str | None
    # What only an acceptance stage has.
    chat_topic_arn: str | None = None
    source_region: str | None = None

    @property
    def rules(self) -> Mapping[str, Any]:
        """What invokes each function of the stage: an expression."""
        return {
            functions.SHARE: str(self.schedule.utc),
            functions.FOLLOW_SHARES: functions.POLL,
        }

    def policy(self, stage: str) -> SharePolicy:
        """Return what the stage of that name does with its snapshots."""
        return SharePolicy(stage, self.share_with, self.key, self.keep)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ProductionSettings":
        """Return the settings in `environment`; raise SettingsError, naming every problem."""
        problems: list[Problem] = []
        values = read(environment, VARIABLES, problems)
        problems += probable_typos(environment, NAMES)
        if problems:
            raise SettingsError(problems)
        return cls(
            clusters=values["CLUSTERS"],
            share_with=values["SHARE_WITH_ACCOUNT"],
            key=values["SHARE_KMS_KEY_ID"],
            keep=values["SHARES_TO_KEEP"],
            schedule=values["SHARE_SCHEDULE"],
            topic_arn=values["NOTIFICATION_TOPIC_ARN"],
        )


_ACCOUNT = matching("[0-9]{12}", "write acceptance's account id, 12 digits")
VARIABLES = (
    Variable("SHARE_WITH_ACCOUNT", _ACCOUNT, required=True),
    Variable("CLUSTERS", list_of(cluster_identifier), required=True),
    Variable("SHARE_KMS_KEY_ID", KEY),
    Variable("SHARES_TO_KEEP", at_least_one, "3"),
    Variable("SHARE_SCHEDULE", Expression.parse, "cron(0 22 ? * SAT *)"),
    Variable("NOTIFICATION_TOPIC_ARN", TOPIC),
)

NAMES = tuple(variable.name for variable in VARIABLES)
