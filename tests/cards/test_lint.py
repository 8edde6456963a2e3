"""`card lint`: each finding is shown, and silence on what is sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from hala_release.card import lint, words
from hala_release.card.lint import Page
from hala_release.release import load
from hala_release.wanted import wanted
from tests.cards import made

HEADER = "---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n"


def found(body: str, **more: object) -> list[str]:
    page = Page(HEADER + body, "model", "org/model", **more)  # type: ignore[arg-type]
    return [f"{one.level}: {one.message}" for one in lint.lint(page)]


SOUND = """# Model

Words, and [a link](https://arxiv.org/abs/2509.14008), [a file](notes.md).

## Use

```python
print("هلا")
```

![What is seen](picture.png)
"""


def test_a_sound_card_is_silent() -> None:
    assert found(SOUND, files={"notes.md", "picture.png"}) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("# A\n\n[More Information Needed]\n", "error: it is not finished: [More Information Needed]"),
        ("# A\n\nTODO: say more\n", "error: it is not finished: TODO"),
        ("# A\n\nweights from /home/me/checkpoint-500\n", "error: it names a path of somebody's machine: /home/me"),
        ("# A\n\nwords\n\n# B\n\nwords\n", "warning: it has more than one title"),
        ("# A\n\nwords\n\n## Limits\n\n## Use\n\nwords\n", "warning: nothing stands under 'Limits'"),
        ("# A\n\n```python\nfor x in\n```\n", "error: a block of Python is none"),
        ("# A\n\n![](picture.png)\n", "warning: the image picture.png has no text"),
        ('# A\n\n<img src="picture.png">\n', "warning: the image picture.png has no text"),
        ("# A\n\n![seen](other.png)\n", "error: the image other.png is to a file that is not there"),
        ("# A\n\n[text](gone.md)\n", "error: the link gone.md is to a file that is not there"),
        ("# A\n\n[text](http://arxiv.org)\n", "error: the link http://arxiv.org is not https"),
        ("# A\n\n[text](ftp://arxiv.org/x)\n", "error: the link ftp://arxiv.org/x is not https"),
        ("# A\n\n[text](https://evil.example)\n", "warning: a link leads to evil.example"),
        ("# A\n\n[m](https://huggingface.co/org/gone)\n", "warning: the model org/gone is not part of the release"),
        ("# A\n\n[m](https://huggingface.co/datasets/org/model)\n", "warning: the dataset org/model is not part"),
        ("# A\n\nIt scores 45.2 on EXAMS.\n", "warning: a number beside a metric that no result file has"),
        ("# A\n\nBLEU of 48\n", "warning: a number beside a metric"),
        ("# A\n\nدقة النموذج ٧٥\n", "warning: a number beside a metric"),
        ("# A\n\ntext \u202e txet\n", "error: it has the character U+202E"),
        ("# A\n\ntext \u200b here\n", "error: it has the character U+200B"),
    ],
)
def test_what_is_wrong_is_told(body: str, message: str) -> None:
    told = found(body, files={"picture.png"}, published={("model", "org/model")}, namespace="org")
    assert any(one.startswith(message) for one in told), told


def test_a_card_whose_block_cannot_be_read_is_one_finding() -> None:
    (only,) = lint.lint(Page("---\na: [\n---\nwords", "model", "org/model"))
    assert only.level == "error"


def test_mistakes_in_the_block_are_told() -> None:
    told = [
        f"{one.message}; {one.fix}"
        for one in lint.lint(Page("---\nlicence: mit\n---\n# A\n\nwords\n", "model", "org/model"))
    ]
    assert any("license" in one for one in told), told


def test_numbers_in_managed_regions_are_measured_and_silent(tmp_path: Path) -> None:
    for want in wanted(load(made.hala(tmp_path)), tmp_path):
        page = Page(want.card, want.kind, want.repo, files=want.paths)
        assert [one.message for one in lint.lint(page) if "beside a metric" in one.message] == []


def test_the_templates_say_no_number_beside_a_metric() -> None:
    assert list(lint.templates()) == []
    assert sum(len(words.literal(source)) for source in words.sources().values()) > 300


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("| EXAMS | acc_norm | 36.9 |", True),
        ("It reaches a BLEU of 48.2.", True),
        ("within ± 1.3 points", True),
        ("accuracy on 562 items", True),
        ("الدرجة من 100", True),
        ("| Version | {{ release.version }} | chrF++ |", False),
        ("Released in 2025 under Apache-2.0", False),
        ("F1 is the metric", False),
    ],
)
def test_a_digit_typed_next_to_a_metric_is_seen(line: str, typed: bool) -> None:
    said = " ".join(text for _, text in words.literal(line))
    assert lint.numbers_of_metrics(said) is typed
