"""IAM's policy simulator: what a role may do, asked without doing it.

Restores *SimulatePrincipalPolicy* (IAM API reference), which moto lacks, for roles: each action is weighed on each
resource against the role's own policies, as a call is (``authorization.py``), and told as ``allowed``,
``explicitDeny`` or ``implicitDeny``, a result for each pair, in pages. What else may be handed in (further
policies, boundaries, a resource's policy) is refused: to pass it over would be to answer another
question. Which statements matched is not told.
"""

import re
from typing import Any

from moto.core.responses import ActionResult
from moto.iam import urls
from moto.iam.exceptions import IAMException
from moto.iam.models import IAMBackend
from moto.iam.responses import IamResponse

from localcloud import authorization
from localcloud.authorization import Decision, NotRestored
from localcloud.identities import Document, document

_DECISIONS = {
    Decision.ALLOWED: "allowed",
    Decision.EXPLICIT_DENY: "explicitDeny",
    Decision.IMPLICIT_DENY: "implicitDeny",
}
_KNOWN = {"PolicySourceArn", "ActionNames", "ResourceArns", "ContextEntries", "MaxItems", "Marker"}
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/(?:.*/)?([^/]+)")
_ACTION = re.compile(r"[A-Za-z0-9-]+:\w+")


class SimulatingIamResponse(IamResponse):
    """moto's IAM API with the simulator."""

    def simulate_principal_policy(self) -> ActionResult:
        """*SimulatePrincipalPolicy*, one page."""
        given: dict[str, Any] = dict(self.params)
        if strange := given.keys() - _KNOWN:
            raise _invalid(
                f"The local cloud's simulator does not know {', '.join(sorted(strange))}"
            )
        for action in given["ActionNames"]:
            if not _ACTION.fullmatch(action):
                raise _invalid(f"Invalid action name: {action}")
        # Several values of a key are written with commas here, as ``authorization.py`` reads them.
        context = {
            entry["ContextKeyName"].lower(): ",".join(entry["ContextKeyValues"])
            for entry in given.get("ContextEntries", [])
        }
        policies = policies_of(self.backend, given["PolicySourceArn"])
        pairs = [
            (action, resource)
            for action in given["ActionNames"]
            for resource in given.get("ResourceArns", ["*"])
        ]
        start, most = int(given.get("Marker", 0)), int(given.get("MaxItems", 100))
        end = start + most
        results = [
            {
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": _decision(policies, action, resource, context),
                "MatchedStatements": [],
                "MissingContextValues": [],
            }
            for action, resource in pairs[start:end]
        ]
        more = {"IsTruncated": end < len(pairs)} | (
            {"Marker": str(end)} if end < len(pairs) else {}
        )
        return ActionResult({"EvaluationResults": results, **more})


def policies_of(backend: IAMBackend, arn: str) -> list[Document]:
    """The documents of a role's inline and attached policies; NoSuchEntity where there is no such role."""
    match = _ROLE.fullmatch(arn)
    if match is None:
        raise _invalid(f"The local cloud's simulator knows roles alone, not {arn}")
    role = backend.get_role(match[1])
    return [
        document(policy) for policy in (*role.policies.values(), *role.managed_policies.values())
    ]


def _decision(policies: list[Document], action: str, resource: str, context: dict[str, str]) -> str:
    try:
        return _DECISIONS[authorization.decide(policies, action, resource, context)]
    except NotRestored as gap:
        raise _invalid(str(gap)) from gap


def _invalid(message: str) -> IAMException:
    return IAMException("InvalidInput", message)


def install() -> None:
    """Put the API with the simulator in the place of moto's."""
    urls.url_paths["{0}/$"] = SimulatingIamResponse.dispatch
