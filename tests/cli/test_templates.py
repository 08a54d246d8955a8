"""Templates: what is not known is neither met nor unmet, and what is no template is an error."""

import pytest

from cli import templates
from cli.stages import StageError

CONDITIONS = """
Parameters:
  Stored: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /name}
Conditions:
  Met: !Equals [a, a]
  Unmet: !Equals [a, b]
  Unknown: !Equals [!Ref Stored, a]
  Tried: %s
Resources:
  Topic: {Type: 'AWS::SNS::Topic', Properties: {TopicName: !If [Tried, met, unmet]}}
"""
UNKNOWN = {"Fn::If": ["Tried", "met", "unmet"]}


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("!Not [!Condition Unmet]", "met"),
        ("!Not [!Condition Unknown]", UNKNOWN),
        ("!And [!Condition Met, !Condition Met]", "met"),
        ("!And [!Condition Met, !Condition Unknown]", UNKNOWN),
        ("!And [!Condition Unknown, !Condition Unmet]", "unmet"),
        ("!Or [!Condition Unmet, !Condition Unmet]", "unmet"),
        ("!Or [!Condition Unmet, !Condition Unknown]", UNKNOWN),
        ("!Or [!Condition Unknown, !Condition Met]", "met"),
    ],
)
def test_a_condition_is_met_unmet_or_unknown(condition: str, name: object) -> None:
    template = templates.evaluated(templates.parsed(CONDITIONS % condition), {})
    assert template["Resources"]["Topic"]["Properties"] == {"TopicName": name}


@pytest.mark.parametrize(
    ("text", "message"), [("- no template", "not a mapping"), ("a: [", "cannot be read")]
)
def test_what_is_no_template_is_an_error(text: str, message: str) -> None:
    with pytest.raises(StageError, match=message):
        templates.parsed(text)
