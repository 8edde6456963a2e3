"""hala-release verify"""

from __future__ import annotations

from pathlib import Path

import click

from hala_release.cli.options import connect, hub_option, release_argument
from hala_release.cli.output import Output, finding_lines, output_options
from hala_release.units import count


@click.command()
@release_argument
@hub_option
@output_options
def command(release: Path, hub: str | None, as_json: bool, quiet: bool) -> None:
    """Read back what is published.

    The tagged files on the Hub are compared with what was sealed, without downloading them.
    """
    from hala_release.errors import CheckFailed
    from hala_release.release import load
    from hala_release.verify import verify
    from hala_release.wanted import wanted

    loaded = load(release)
    wants = wanted(loaded, release.parent)
    target = connect(hub, quiet=quiet)
    output = Output(as_json=as_json, quiet=quiet)
    findings = verify(loaded, wants, target)
    if any(finding.level == "error" for finding in findings):
        raise CheckFailed(
            f"{loaded.name} {loaded.version} on {target.endpoint} is not the release",
            findings=findings,
            fix="mend what is listed above",
        )
    for line in finding_lines(findings):
        output.talk(line)
    files = sum(len(want.entries) for want in wants)
    output.show(
        {"repositories": [want.repo for want in wants], "files": files, "tag": loaded.tag},
        [
            f"{loaded.name} {loaded.version} on {target.endpoint}: "
            f"{count(len(wants), 'repository', 'repositories')}, {count(files, 'file')}, all as sealed"
        ],
    )
