"""What these models are, from the facts of their cards."""

from __future__ import annotations

from html import escape

import gradio as gr

from family import LANGUAGES, Family


def build(family: Family) -> None:
    """Lay the tab out: one text for each language of the page, of which the style shows one."""
    for language in LANGUAGES:
        with gr.Column(elem_classes=f"only-{language}"):
            gr.Markdown(family.about[language], elem_classes="about", header_links=False)
            for chart in family.charts:
                alt = escape(chart.alt[language], quote=True)
                gr.HTML(
                    f'<img class="on-light" alt="{alt}" src="{_address(chart.light)}" loading="lazy">'
                    f'<img class="on-dark" alt="{alt}" src="{_address(chart.dark)}" loading="lazy">'
                )


def _address(path: str) -> str:
    return escape(f"gradio_api/file={path}", quote=True)
