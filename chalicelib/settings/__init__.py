"""A stage's environment variables as one validated, frozen object."""

from collections.abc import Mapping

from chalicelib.domain.errors import Problem, SettingsError
from chalicelib.settings import acceptance, production
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings

ACCEPTANCE, PRODUCTION = "SOURCE_ACCOUNT", "SHARE_WITH_ACCOUNT"


def load(environment: Mapping[str, str]) -> Settings | ProductionSettings:
    """Return the stage's settings; raise SettingsError, naming every problem.

    A stage with SOURCE_ACCOUNT is an acceptance stage, one with SHARE_WITH_ACCOUNT a production
    stage.
    """
    is_acceptance, is_production = (bool(environment.get(n)) for n in (ACCEPTANCE, PRODUCTION))
    if is_acceptance == is_production:
        found = "are both set" if is_acceptance else "are both missing"
        detail = (
            f"{found}: set {ACCEPTANCE} in an acceptance stage, {PRODUCTION} in a production stage"
        )
        unclear = Problem((ACCEPTANCE, PRODUCTION), detail)
        raise SettingsError([unclear, *_other_problems(environment)])
    if is_acceptance:
        return Settings.from_environment(environment)
    return ProductionSettings.from_environment(environment)


def _other_problems(environment: Mapping[str, str]) -> list[Problem]:
    """Return what else is wrong with a stage whose kind is not stated; nothing that is missing."""
    kind = ProductionSettings if environment.get("CLUSTERS") else Settings
    try:
        kind.from_environment(environment)
    except SettingsError as error:
        return [problem for problem in error.problems if not problem.missing]
    return []


def names_of(environment: Mapping[str, str]) -> list[str]:
    """Return the names of all settings that a stage of this kind has; raise SettingsError."""
    if environment.get(PRODUCTION):
        return list(production.NAMES)
    return acceptance.names_of(environment)
