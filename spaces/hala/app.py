"""The Space: chat with the models of a family, translate with them, compare them with what they were made from.

README.md names the variables that it reads.
"""

from __future__ import annotations

import logging
import os
from html import escape
from pathlib import Path

import gradio as gr

import api
from answer import Answers
from backends import Backend, chosen
from family import Family, load
from tabs import about, chat, compare, translate
from words import I18N, named, word

HERE = Path(__file__).parent
ASSETS = HERE / "assets"
SWITCH = """<div class="top"><h1 dir="auto">{title}</h1><nav aria-label="اللغة / Language">
<button type="button" data-language="ar" lang="ar">العربية</button>
<button type="button" data-language="en" lang="en">English</button></nav></div>
<p class="lost" role="alert" hidden><span lang="ar" dir="rtl">انقطع الاتصال. أعد الإرسال حين يعود.</span>
<span lang="en" dir="ltr">The connection is lost. Send again when it is back.</span></p>"""


def build(family: Family, backend: Backend, *, as_tools: bool = False) -> gr.Blocks:
    """Return the app for a family whose models a backend serves."""
    answers = Answers(backend)
    with gr.Blocks(title=family.title, analytics_enabled=False, delete_cache=(600, 600), fill_width=False) as app:
        gr.HTML(SWITCH.format(title=escape(family.title)), elem_id="top")
        with gr.Tabs(elem_id="tabs"):
            if family.chat:
                with gr.Tab(word("chat"), id="chat"):
                    chat.build(family, answers)
            if family.translate:
                with gr.Tab(word("translate"), id="translate"):
                    translate.build(family, answers)
            if family.bases:
                with gr.Tab(word("compare"), id="compare"):
                    compare.build(family, answers)
            with gr.Tab(word("about"), id="about"):
                about.build(family)
        gr.Markdown(word("notice"), elem_id="notice")
        api.offer(family, answers, as_tools=as_tools)
    return app.queue(max_size=256, default_concurrency_limit=8)


def main() -> None:
    """Serve the family in this folder."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("hala.space").setLevel(logging.INFO)
    family = load(HERE)
    as_tools = os.environ.get("HALA_MCP") == "1"
    gr.set_static_paths([ASSETS, HERE / "charts"])
    build(family, chosen(family), as_tools=as_tools).launch(
        theme=gr.themes.Default(
            primary_hue="teal",
            neutral_hue="slate",
            font=["IBM Plex Sans Arabic Hala", "system-ui", "Segoe UI", "Noto Sans", "sans-serif"],
            font_mono=["ui-monospace", "Consolas", "monospace"],
        ),
        css_paths=[ASSETS / "page.css"],
        head=f"<script>window.halaWords = {named()};{(ASSETS / 'page.js').read_text(encoding='utf-8')}</script>",
        i18n=I18N,
        mcp_server=as_tools,
        ssr_mode=False,
        run_history=False,
        max_file_size="1mb",
        footer_links=["api"],
        show_error=True,
    )


if __name__ == "__main__":
    main()
