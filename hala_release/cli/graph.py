"""hala-release graph"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hala_release.cli.output import Output, facts_words, output_options, shown

if TYPE_CHECKING:
    from hala_release.lineage import Node


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--among",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Where the bundles lie that it was made from; repeatable. Default: two folders above it, and `out`.",
)
@click.option("--mermaid", is_flag=True, help="Draw it for Markdown instead.")
@output_options
def command(bundle: Path, among: tuple[Path, ...], mermaid: bool, as_json: bool, quiet: bool) -> None:
    """Draw what a bundle was made from."""
    from hala_release.bundle import Bundle
    from hala_release.lineage import draw, graph

    root = Bundle.open(bundle)
    nodes = graph(root, among or (bundle.absolute().parent.parent, Path("out")))
    document = [
        {
            "manifest_sha256": node.manifest_sha256,
            "bundle": node.bundle and str(node.bundle.root),
            "stage": node.about and node.about.stage,
            "origin": node.origin,
            "inputs": [{"role": role, "manifest_sha256": digest} for role, digest in node.inputs],
        }
        for node in nodes.values()
    ]
    lines = _mermaid(nodes) if mermaid else draw(nodes, root.manifest_sha256, _words)
    Output(as_json=as_json, quiet=quiet).show(document, lines)


def _words(node: Node) -> str:
    if node.about is None:
        return f"{node.manifest_sha256[:12]}, which is not here"
    origin = f" of {shown(node.origin)}" if node.origin else ""
    if node.bundle is None:
        return f"{shown(node.about.stage)}{origin}, {node.manifest_sha256[:12]}, which is not here"
    said = f"{facts_words(node.bundle.manifest.facts)}, {node.bundle.root}"
    return f"{shown(node.about.stage)}{origin}, {said}"


def _mermaid(nodes: Mapping[str, Node]) -> Iterator[str]:
    yield "graph TD"
    for node in nodes.values():
        words = node.manifest_sha256[:12]
        if node.about:
            facts = facts_words(node.bundle.manifest.facts) if node.bundle else node.about.name
            words = f"{node.about.stage}<br>{node.origin or facts}"
        label = "".join(c for c in words if c.isalnum() or c in " .,-_/@<>")
        yield f'  {node.manifest_sha256[:12]}["{label}"]'
    for node in nodes.values():
        for role, below in node.inputs:
            name = "".join(c for c in role if c.isalnum() or c in "-_")
            yield f"  {below[:12]} -->|{name}| {node.manifest_sha256[:12]}"
