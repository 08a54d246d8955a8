"""The environment variables of the app in production, made into one validated, frozen object.

They are read as the refresh's are (``settings.py``), with the same rules where both have the same.
"""

from collections.abc import Mapping
from typing import NamedTuple

from chalicelib.domain.errors import SettingsError
from chalicelib.domain.schedule import Expression
from chalicelib.domain.shares import SharePolicy
from chalicelib.settings.variables import (
    Variable,
    account_of,
    at_least_one,
    cluster_identifier,
    key_of,
    read,
    topic_arn,
)


class ProductionSettings(NamedTuple):
    """What a stage of the source app is set to."""

    clusters: tuple[str, ...]
    sharing: SharePolicy
    schedule: Expression
    topic_arn: str | None

    @property
    def names(self) -> list[str]:
        """The names by which metrics count: none, because production has no databases."""
        return []

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ProductionSettings":
        """The settings in ``environment``; raises SettingsError naming every problem."""
        problems: list[str] = []
        values = read(environment, VARIABLES, problems)
        if problems:
            raise SettingsError(problems)
        return cls(
            clusters=values["CLUSTERS"],
            sharing=SharePolicy(
                values["SHARE_WITH_ACCOUNT"], values["SHARE_KMS_KEY_ID"], values["SHARES_TO_KEEP"]
            ),
            schedule=values["SHARE_SCHEDULE"],
            topic_arn=values["NOTIFICATION_TOPIC_ARN"],
        )


def _clusters(text: str) -> tuple[str, ...]:
    clusters = tuple(cluster_identifier(part.strip()) for part in text.split(","))
    if len(set(clusters)) < len(clusters):
        raise ValueError("write each cluster once")
    return clusters


VARIABLES = (
    Variable("SHARE_WITH_ACCOUNT", account_of("acceptance's"), required=True),
    Variable("CLUSTERS", _clusters, required=True),
    Variable("SHARE_KMS_KEY_ID", key_of("production's")),
    Variable("SHARES_TO_KEEP", at_least_one, "3"),
    Variable("SHARE_SCHEDULE", Expression.parse, "cron(0 22 ? * SAT *)"),
    Variable(
        "NOTIFICATION_TOPIC_ARN", topic_arn("arn:aws:sns:eu-west-1:111111111111:aurora-refresh")
    ),
)
