"""Read CloudFormation templates, and evaluate them with a stack's parameters, as far as possible. Pure."""

import re
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

import yaml  # type: ignore[import-untyped]

from chalicelib.domain.results import Json

NO_VALUE = {"Ref": "AWS::NoValue"}
# DescribeStacks shows the stored parameters' names as the values of these.
_STORED = "AWS::SSM::Parameter::Value"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Load YAML, and expand CloudFormation's short forms, such as `!Ref`."""


def _long_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Json:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _long_form)
for _kind in ("timestamp", "value"):  # CloudFormation knows neither
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_yaml_str)


def parsed(body: str | Json) -> Json:
    """Return a template, which boto3 has parsed if it is JSON."""
    found: Json = yaml.load(body, _Loader) if isinstance(body, str) else body  # noqa: S506 (safe)
    return found


def evaluated(
    template: Json, given: Mapping[str, str], resolved: Mapping[str, str] | None = None
) -> Json:
    """Return the template as the stack deploys it, without what its conditions exclude.

    `given` has the values of parameters, which become their defaults, and of pseudo parameters such as
    AWS::Region. `resolved` has values in Parameter Store at the last update, which decide conditions and
    look-ups in mappings only. What depends on anything else, such as another resource, stays as it is written.
    """
    return _Evaluation(template, given, resolved or {}).template()


class _Evaluation:
    def __init__(
        self, template: Json, given: Mapping[str, str], resolved: Mapping[str, str]
    ) -> None:
        declared = {
            name: {**body, "Default": given[name]} if name in given else body
            for name, body in template.get("Parameters", {}).items()
        }
        self._template = {**template, "Parameters": declared}
        self._pseudo = {name: value for name, value in given.items() if name.startswith("AWS::")}
        self._values = self._pseudo | {
            name: str(body["Default"])
            for name, body in declared.items()
            if "Default" in body
            and not (str(body.get("Type")).startswith(_STORED) or body.get("NoEcho"))
        }
        self._at_update = {**self._values, **resolved}

    def template(self) -> Json:
        sections = {}
        for section in ("Resources", "Outputs"):
            kept = {
                name: body
                for name, body in self._template.get(section, {}).items()
                if self._condition(body.get("Condition")) is not False
            }
            sections[section] = self._value(kept, self._values)
        return {**self._template, **sections}

    def _condition(self, name: Any) -> bool | None:
        """Return whether a condition is met; None if that is unknown."""
        return self._truth(self._template.get("Conditions", {}).get(name))

    def _truth(self, node: Any) -> bool | None:
        match node:
            case {"Condition": name}:
                return self._condition(name)
            case {"Fn::Equals": [left, right]}:
                both = [self._value(each, self._at_update) for each in (left, right)]
                if any(isinstance(each, dict) for each in both):
                    return None
                # CloudFormation takes true and "true" for the same.
                texts = {str(x).lower() if isinstance(x, bool) else str(x) for x in both}
                return len(texts) == 1
            case {"Fn::Not": [negated]}:
                truth = self._truth(negated)
                return None if truth is None else not truth
            case {"Fn::And": list(parts)} | {"Fn::Or": list(parts)}:
                truths, decides = [self._truth(each) for each in parts], "Fn::Or" in node
                return decides if decides in truths else None if None in truths else not decides
        return None

    def _value(self, node: Any, values: Mapping[str, str]) -> Any:
        """Return the node with these values in it; other parameters stay references."""
        match node:
            case {"Fn::If": [name, met, unmet]}:
                truth = self._condition(name)
                if truth is not None:
                    return self._value(met if truth else unmet, values)
                branches = [self._value(each, values) for each in (met, unmet)]
                return {"Fn::If": [name, *branches]}
            case {"Ref": str(name)}:
                return values.get(name, node)
            case {"Fn::FindInMap": list(keys)}:
                return self._mapped(keys, node)
            case {"Fn::Join": [str(separator), list(parts)]}:
                joined = self._value(parts, values)
                is_text = all(isinstance(each, str) for each in joined)
                return separator.join(joined) if is_text else {"Fn::Join": [separator, joined]}
            case {"Fn::Sub": str(text)}:
                return _substituted(text, values)
            case {"Fn::Sub": [str(text), dict(local)]}:
                return _substituted(text, {**values, **self._value(local, values)})
            case dict():
                # The checks tell a parameter of the wrong type by its name, and a run may give it another value.
                own = {"SnapshotIdentifier": self._pseudo}
                found = {k: self._value(each, own.get(k, values)) for k, each in node.items()}
                return {name: each for name, each in found.items() if each != NO_VALUE}
            case list():
                items = [self._value(each, values) for each in node]
                return [each for each in items if each != NO_VALUE]
        return node

    def _mapped(self, keys: list[Any], node: Json) -> Any:
        try:
            at = (self._value(each, self._at_update) for each in keys)
            return reduce(getitem, at, self._template.get("Mappings", {}))
        except (KeyError, TypeError):
            return node


def _substituted(text: str, values: Mapping[str, Any]) -> Any:
    if match := re.fullmatch(r"\$\{(\w+)\}", text):
        return values.get(match[1], {"Ref": match[1]})

    def known(match: re.Match[str]) -> str:
        value = values.get(match[1])
        return value if isinstance(value, str) else match[0]

    text = re.sub(r"\$\{([\w.:]+)\}", known, text)
    return {"Fn::Sub": text} if "${" in text else text
