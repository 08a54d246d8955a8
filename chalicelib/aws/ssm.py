"""Parameter Store, whose history of each parameter is the ledger of the refresh."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from chalicelib.aws.errors import translate_errors
from chalicelib.domain.ledger import Note, Version
from chalicelib.domain.parameters import Parameter

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

_NAMES_PER_CALL = 10


class SsmParameters:
    """The `Parameters` port, with AwsError for whatever fails.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
    """

    def __init__(self, client: "SSMClient") -> None:
        self._client = client

    def get(self, names: Sequence[str]) -> Mapping[str, Parameter]:
        found: dict[str, Parameter] = {}
        for first in range(0, len(names), _NAMES_PER_CALL):
            batch = names[first : first + _NAMES_PER_CALL]
            with translate_errors("GetParameters", ", ".join(batch)):
                response = self._client.get_parameters(Names=batch)
            found |= {
                each["Name"]: Parameter(each["Value"], each["Version"], each["LastModifiedDate"])
                for each in response["Parameters"]
            }
        return found

    def put(self, name: str, value: str, note: Note | None) -> int:
        with translate_errors("PutParameter", name):
            return self._client.put_parameter(
                Name=name,
                Value=value,
                Description=note.describe(value) if note else "",
                Type="String",
                Overwrite=True,
            )["Version"]

    def delete(self, name: str) -> None:
        with translate_errors("DeleteParameter", name, ignored="ParameterNotFound"):
            self._client.delete_parameter(Name=name)

    def label(self, name: str, version: int, labels: Collection[str]) -> None:
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-labels.html
        with translate_errors("LabelParameterVersion", name):
            self._client.label_parameter_version(
                Name=name, ParameterVersion=version, Labels=sorted(labels)
            )

    def unlabel(self, name: str, version: int, labels: Collection[str]) -> None:
        with translate_errors("UnlabelParameterVersion", name):
            self._client.unlabel_parameter_version(
                Name=name, ParameterVersion=version, Labels=sorted(labels)
            )

    def history(self, name: str) -> list[Version]:
        pages = self._client.get_paginator("get_parameter_history").paginate(
            Name=name, PaginationConfig={"PageSize": 50}
        )
        with translate_errors("GetParameterHistory", name, ignored="ParameterNotFound"):
            return [
                Version(
                    number=version["Version"],
                    value=version["Value"],
                    modified=version["LastModifiedDate"],
                    note=Note.read(version.get("Description", ""), version["Value"]),
                    labels=frozenset(version.get("Labels", [])),
                )
                for page in pages
                for version in page["Parameters"]
            ]
        return []
