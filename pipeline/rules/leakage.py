"""P: the target says what the source says, and nothing of the model that made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.rules.counting import Count, Sign
from pipeline.rules.rule import Action, Batch, Hit, Limits, Search, compile_pattern, holds, where


class Leak(Limits):
    """A first or last line that speaks of the translation: one is taken out, more drop the row."""

    action: Action = "repair"
    near: tuple[str, ...] = ("ترجم", "بالتأكيد", "بالطبع", "translat", "arabic", "note", "language", "text")
    """Patterns are tried on texts that hold one of these, in lower case."""
    lead: tuple[str, ...] = (
        r"(?:translation|arabic translation|the translation|arabic)\s*[:：]\s*",
        r"(?:here (?:is|are)|sure|certainly|of course|below is)\b[^\n:]{0,120}(?:translat|arabic)[^\n:]{0,80}:\s*",
        r"(?:الترجمة|ترجمة النص|النص المترجم|الترجمة العربية|الترجمة إلى العربية)\s*:\s*",
        r"(?:إليك|إليكم|فيما يلي|هذه هي|هنا|بالتأكيد|بالطبع)[^\n:]{0,60}?(?:ال)?ترجمة[^\n:]{0,60}:\s*",
    )
    """What may start the first line: it is cut off up to the colon, the rest of the line stays."""
    lines: tuple[str, ...] = (
        r"(?:here (?:is|are)|sure|certainly|of course|below is)\b[^\n]{0,160}(?:translat|arabic)[^\n]{0,160}",
        r"\W{0,3}note\s*:[^\n]*(?:translat|kept|arabic)[^\n]*",
        r"[^\n]*\b(?:source|target) (?:text|language)\b[^\n]*",
        r"(?:إليك|إليكم|فيما يلي|هذه هي|هنا)\s[^\n]{0,80}ترجمة[^\n]{0,80}",
        r"\W{0,3}ملاحظ[ةه]\s*:[^\n]*(?:الترجمة|ترجم)[^\n]*",
    )
    """What may be the whole first or last line: it is taken out."""
    eager: str = r"(?:بالتأكيد|بالطبع)\s*[!،,]\s*"
    """A word of consent that may start the first line of an answer; cut off unless the source has one, too."""
    unless_eager: str = (
        r"\A\W*(?:sure|certainly|of course|absolutely|definitely|yes|no problem|naturally|indeed|by all)"
    )
    unless_source: str = r"translat|\b(?:source|target) (?:text|language)"
    """A source that speaks of translation may get a target that does."""


class Refusal(Limits):
    """A refusal, or an excuse of a model, that the source does not have."""

    target: tuple[Search, ...] = (
        Search(
            pattern=r"\b(?:i['’]?m sorry|i am sorry|i can(?:not|['’]t)|as an ai\b)",
            near=("sorry", "i can", "as an ai"),
        ),
        Search(
            pattern=r"(?:عذر[ًا]{1,2}|آسف|أعتذر)[^\n]{0,40}لا (?:أستطيع|يمكنني)"
            r"|لا يمكنني (?:المساعدة|تلبية|ترجمة)|لا أستطيع (?:المساعدة في|تلبية|ترجمة)"
            r"|(?:بصفتي|كوني|باعتباري|كنموذج|أنا مجرد) ?(?:نموذج|لغ|ذكاء)",
            near=("لا يمكنني", "لا أستطيع", "بصفتي", "كوني", "باعتباري", "كنموذج", "أنا مجرد"),
        ),
    )
    unless_source: str = (
        r"\b(?:sorry|apologi[sz]e|excuse|can ?not|can['’]?t|unable|not able|couldn['’]?t|won['’]t|unfortunately"
        r"|as an? (?:ai|language|artificial|large)|language model)\b"
    )
    """A source with such words may get a target with them."""


class Answered(Limits):
    """A request that was answered instead of translated: far more sentences, or the question is gone."""

    action: Action = "flag"
    times: Annotated[float, Field(gt=1)] = 2
    """Sentences of the target over those of the source."""
    more: Annotated[int, Field(ge=1)] = 2
    """So many more must there be at least."""


class Identity(Limits):
    """Names of models and their makers that the source does not have."""

    names: Mapping[str, Search] = {
        "OpenAI": Search(pattern=r"open ?ai\b|أو[بپ]ن ?(?:إيه|ايه|أي|إي) ?(?:آي|اي)", near=("open", "أوبن", "أوپن")),
        "ChatGPT": Search(
            pattern=r"chat ?gpt|\bgpt-?\d|(?:شات|تشات) ?جي ?بي ?تي", near=("gpt", "شات جي", "شات جى", "جي بي تي")
        ),
        "Anthropic": Search(pattern=r"anthropic|أنثروبيك|انثروبيك", near=("anthropic", "نثروبيك")),
        "Claude": Search(pattern=r"\bclaude\b", near=("claude",)),
        "Google": Search(pattern=r"google|جوجل|غوغل|قوقل", near=("google", "جوجل", "غوغل", "قوقل")),
        "Gemini": Search(pattern=r"\bgemini\b|جيميناي", near=("gemini", "جيميناي")),
        "Gemma": Search(pattern=r"\bgemma\b", near=("gemma",)),
        "Qwen": Search(pattern=r"\bqwen|كوين ?\d|تونغي", near=("qwen", "كوين", "تونغي")),
        "Alibaba": Search(pattern=r"alibaba|علي ?بابا كلاود", near=("alibaba", "بابا كلاود")),
        "Llama": Search(pattern=r"\bllama[ -]?\d|\bmeta ai\b", near=("llama", "meta ai")),
        "Mistral": Search(pattern=r"\bmistral\b", near=("mistral",)),
        "DeepSeek": Search(pattern=r"deepseek|ديب ?سيك", near=("deepseek", "سيك")),
        "Cohere": Search(pattern=r"\bcohere\b|\bcommand r\b", near=("cohere", "command r")),
    }


def mend_leak(batch: Batch, pair: int, text: str, limits: Leak) -> str:
    """Take out the one line that speaks of the translation; two and more are left for `leak` to find."""
    if not _suspect(batch, pair, text, limits):
        return text
    mended = _strip(batch, pair, text, limits)
    return text if mended != _strip(batch, pair, mended, limits) else mended


def leak(batch: Batch, limits: Leak) -> Iterator[Hit]:
    """Find targets that speak of the translation after the repair: in more lines than one."""
    for pair, text in enumerate(batch.targets):
        if _suspect(batch, pair, text, limits):
            mended = _strip(batch, pair, text, limits)
            if mended != text:
                lost = text.removesuffix(mended) if text.endswith(mended) else text.removeprefix(mended)
                reason = f"speaks of the translation: {' '.join(lost[:200].split())[:60]}"
                yield batch.hit(pair, reason, "drop" if limits.action == "repair" else None)


def _suspect(batch: Batch, pair: int, text: str, limits: Leak) -> bool:
    lower = text.lower() if batch.target_signs[pair] & Sign.LATIN else text
    return holds(lower, limits.near) and not batch.excused(pair, limits.unless_source)


def _strip(batch: Batch, pair: int, text: str, limits: Leak) -> str:
    """Return the text without the first leak at its start or end."""
    first = text.lstrip()
    for pattern in limits.lead:
        found = compile_pattern(pattern).match(first)
        if found:
            return first[found.end() :]
    if batch.roles[pair] == "assistant":
        found = compile_pattern(limits.eager).match(first)
        if found and not compile_pattern(limits.unless_eager).search(batch.sources[pair]):
            return first[found.end() :]
    line, _, rest = first.partition("\n")
    if any(compile_pattern(pattern).fullmatch(line) for pattern in limits.lines):
        return rest.lstrip()
    rest, _, line = text.rstrip().rpartition("\n")
    if any(compile_pattern(pattern).fullmatch(line) for pattern in limits.lines):
        return rest.rstrip()
    return text


def refusal(batch: Batch, limits: Refusal) -> Iterator[Hit]:
    """Find refusals of the translating model."""
    for pair, text in enumerate(batch.target_prose):
        for search in limits.target:
            found = search.find(text, batch.target_lower[pair])
            if found and not compile_pattern(limits.unless_source).search(batch.sources[pair]):
                yield batch.hit(pair, f"refuses: {found[0][:60]}")
                break


def answered(batch: Batch, limits: Answered) -> Iterator[Hit]:
    """Find turns of the user that look like an answer."""
    source, target = batch.source, batch.target
    sentences, more = np.maximum(source[:, Count.SENTENCES], 1), target[:, Count.SENTENCES]
    many = (more >= limits.times * sentences) & (more >= sentences + limits.more)
    silent = (source[:, Count.ASKS] == 1) & (target[:, Count.QUESTIONS] == 0)
    for pair in where(batch.user & (many | silent)):
        yield batch.hit(
            pair,
            f"{more[pair]} sentences for {sentences[pair]}" if many[pair] else "the source asks, the target does not",
        )


def identity(batch: Batch, limits: Identity) -> Iterator[Hit]:
    """Find names of models and vendors that came in with the translation."""
    near = [word for search in limits.names.values() for word in search.near]
    arabic, every = [word for word in near if not word.isascii()], any(not one.near for one in limits.names.values())
    latin = batch.target[:, Count.LATIN].tolist()
    for pair, lower in enumerate(batch.target_lower):
        if not every and not holds(lower, near if latin[pair] else arabic):
            continue
        for name, search in limits.names.items():
            if search.find(lower, lower) and not search.find(batch.sources[pair], batch.sources[pair].lower()):
                yield batch.hit(pair, f"{name} is not in the source")
                break
