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
  aws cloudformation deploy --stack-name {before} --template-file {out}/before.json
  aws cloudformation package --template-file {out}/sam.json --s3-bucket BUCKET \\
    --output-template-file {out}/packaged.yaml
  aws cloudformation deploy --stack-name {functions} --template-file {out}/packaged.yaml \\
    --s3-bucket BUCKET --capabilities CAPABILITY_IAM
  aws cloudformation deploy --stack-name {after} --template-file {out}/after.json
{parameters}Remove from before.json what the account already has: a stack cannot take it over, and would fail.
To delete the stage, except parameters, topic and logs:
{deletions}
"""

_PARAMETERS = """\
The first time, add to the first command: --parameter-overrides {}
Later deployments without them keep these values, and overwrite nothing that has changed since.
"""


def package(project: Path, name: str, out: Path) -> str:
    """Write the templates to the folder; return how to deploy and delete them; raise Failure."""
    stage = deployable(project, name)
    boto3.Session()  # which raises for a profile that does not exist; Chalice would end with a trace
    chalice_cli.run(project, stage, "package", "--pkg-format", "cloudformation", str(out.resolve()))
    functions = json.loads((out / "sam.json").read_text(encoding="utf-8"))
    stacks.name_packaged(stage, functions)
    before, after = stacks.packaged_before(stage), stacks.after(stage)
    templates = {"before": before, "sam": functions, "after": after}
    for which, template in templates.items():
        (out / f"{which}.json").write_text(stages.to_text(template), encoding="utf-8")
    names = dict(zip(("before", "functions", "after"), stacks.packaged_stacks(name), strict=True))
    given = " ".join(f"{each}=…" for each in before["Parameters"])
    return _NEXT.format(
        **names,
        out=shlex.quote(str(out)),
        parameters=_PARAMETERS.format(given) if given else "",
        deletions=stacks.deletions(name),
    ).rstrip()
