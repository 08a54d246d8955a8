"""`aurora-refresh package --stage acceptance`: write the stage as three CloudFormation templates.

It makes no AWS calls. Deploy them in this order: before.json, sam.json with deployment.zip, after.json.
"""

import json
import shlex
from pathlib import Path

import boto3

from cli import chalice_cli, stacks, stages
from cli.deploy import deployable

_NEXT = """\
next, with a bucket of your own:
{parameters}  aws cloudformation deploy --stack-name {before} --template-file {out}/before.json
  aws cloudformation package --template-file {out}/sam.json --s3-bucket BUCKET \\
    --output-template-file {out}/packaged.yaml
  aws cloudformation deploy --stack-name {functions} --template-file {out}/packaged.yaml \\
    --s3-bucket BUCKET --capabilities CAPABILITY_IAM
  aws cloudformation deploy --stack-name {after} --template-file {out}/after.json
{notes}Remove from before.json what the account already has: a stack cannot take it over, and would fail.
To delete the stage, except parameters, topic and logs:
{deletions}
"""

_EMAIL = """\
The first time, add to the first deployment: --parameter-overrides Email=…
Later deployments without it keep the address.
"""
_PARAMETERS = """\
put-parameter fails, and changes nothing, if the parameter exists. If you know the first snapshot to restore, write its
ARN as the value of current.
"""


def package(project: Path, name: str, out: Path) -> str:
    """Write the templates to the folder; return how to deploy and delete them; raise Failure."""
    stage = deployable(project, name)
    boto3.Session()  # which raises for a profile that does not exist; Chalice would end with a trace
    chalice_cli.check_modes(project)
    chalice_cli.run(project, stage, "package", "--pkg-format", "cloudformation", str(out.resolve()))
    functions = json.loads((out / "sam.json").read_text(encoding="utf-8"))
    stacks.name_packaged(stage, functions)
    before, after = stacks.packaged_before(stage), stacks.after(stage)
    templates = {"before": before, "sam": functions, "after": after}
    for which, template in templates.items():
        (out / f"{which}.json").write_text(stages.to_text(template), encoding="utf-8")
    names = dict(zip(("before", "functions", "after"), stacks.packaged_stacks(name), strict=True))
    parameters = [
        f"  aws ssm put-parameter --name {parameter} --type String --value {value}\n"
        for parameter, value in stacks.parameters(stage).items()
    ]
    notes = (_PARAMETERS if parameters else "") + (_EMAIL if before["Parameters"] else "")
    return _NEXT.format(
        **names,
        out=shlex.quote(str(out)),
        parameters="".join(parameters),
        notes=notes,
        deletions=stacks.deletions(name),
    ).rstrip()
