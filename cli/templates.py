"""Read CloudFormation templates, and evaluate them with a stack's parameters, as far as possible. Pure."""

import re
from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from cli.stages import Json, StageError

_NO_VALUE = {"Ref": "AWS::NoValue"}
# What a stack's description says of these is not their value.
_STORED = "AWS::SSM::Parameter::Value"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML that reads CloudFormation's short forms, such as `!Ref`, as the long ones."""


def _long_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Json:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _long_form)


def parsed(body: str | Json) -> Json:
    """Return a template, which boto3 has parsed if it is JSON; raise StageError."""
    try:
        document = yaml.load(body, _Loader) if isinstance(body, str) else body  # noqa: S506 (safe)
    except yaml.YAMLError as error:
        raise StageError(f"the template cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise StageError("the template is not a mapping")
    return document


def evaluated(template: Json, given: Mapping[str, str]) -> Json:
    """Return the template as the stack deploys it, without what its conditions exclude.

    `given` has the values of parameters that differ from the default. What depends on anything else, such
    as another resource or a value in Parameter Store, stays as it is written.
    """
    return _Evaluation(template, given).template()


class _Evaluation:
    def __init__(self, template: Json, given: Mapping[str, str]) -> None:
        self._template = template
        self._values = {
            name: str(given.get(name, body.get("Default")))
            for name, body in template.get("Parameters", {}).items()
            if (name in given or "Default" in body)
            and not (str(body.get("Type")).startswith(_STORED) or body.get("NoEcho"))
        }

    def template(self) -> Json:
        resources = {
            name: body
            for name, body in self._template.get("Resources", {}).items()
            if not isinstance(body, dict) or self._condition(body.get("Condition")) is not False
        }
        return {**self._template, "Resources": self._value(resources)}

    def _condition(self, name: Any) -> bool | None:
        """Return whether a condition is met; None if that is unknown."""
        return self._truth(self._template.get("Conditions", {}).get(name))

    def _truth(self, node: Any) -> bool | None:
        match node:
            case {"Condition": name}:
                return self._condition(name)
            case {"Fn::Equals": [left, right]}:
                both = self._value(left), self._value(right)
                return None if any(isinstance(each, dict) for each in both) else _same(*both)
            case {"Fn::Not": [negated]}:
                truth = self._truth(negated)
                return None if truth is None else not truth
            case {"Fn::And": list(parts)}:
                truths = [self._truth(each) for each in parts]
                return False if False in truths else None if None in truths else True
            case {"Fn::Or": list(parts)}:
                truths = [self._truth(each) for each in parts]
                return True if True in truths else None if None in truths else False
        return None

    def _value(self, node: Any, *, follow: bool = True) -> Any:
        """Return the node with what is known in it; without `follow`, a parameter stays a reference."""
        match node:
            case {"Fn::If": [name, met, unmet]}:
                truth = self._condition(name)
                if truth is not None:
                    return self._value(met if truth else unmet, follow=follow)
                branches = [self._value(each, follow=follow) for each in (met, unmet)]
                return {"Fn::If": [name, *branches]}
            case {"Ref": str(name)} if follow:
                return self._values.get(name, node)
            case {"Fn::FindInMap": list(keys)}:
                return self._mapped(keys, node)
            case {"Fn::Join": [str(separator), list(parts)]}:
                known = self._value(parts)
                is_known = all(isinstance(each, str) for each in known)
                return separator.join(known) if is_known else {"Fn::Join": [separator, known]}
            case {"Fn::Sub": str(text)}:
                return self._substituted(text, {}, follow=follow)
            case {"Fn::Sub": [str(text), dict(local)]}:
                return self._substituted(text, self._value(local), follow=follow)
            case dict():
                # The checks tell a parameter of the wrong type by its name.
                found = {
                    name: self._value(each, follow=follow and name != "SnapshotIdentifier")
                    for name, each in node.items()
                }
                return {name: each for name, each in found.items() if each != _NO_VALUE}
            case list():
                return [each for each in map(self._value, node) if each != _NO_VALUE]
        return node

    def _mapped(self, keys: list[Any], node: Json) -> Any:
        found = self._template.get("Mappings", {})
        for key in map(self._value, keys):
            if not isinstance(key, str) or not isinstance(found, dict) or key not in found:
                return node
            found = found[key]
        return found

    def _substituted(self, text: str, local: Mapping[str, Any], *, follow: bool) -> Any:
        if match := re.fullmatch(r"\$\{(\w+)\}", text):
            name = match[1]
            return local[name] if name in local else self._value({"Ref": name}, follow=follow)
        values = {**self._values, **local}

        def known(match: re.Match[str]) -> str:
            value = values.get(match[1])
            return value if isinstance(value, str) else match[0]

        text = re.sub(r"\$\{([\w.:]+)\}", known, text)
        return {"Fn::Sub": text} if "${" in text else text


def _same(left: Any, right: Any) -> bool:
    """Compare as CloudFormation does, to which true and "true" are the same."""
    texts = [str(each).lower() if isinstance(each, bool) else str(each) for each in (left, right)]
    return texts[0] == texts[1]
