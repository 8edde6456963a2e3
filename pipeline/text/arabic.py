"""Arabic letters, marks and digits: what to mend in a text, and how to fold it for comparison.

The three repairs give a text that they leave alone when they are applied again. They never fold alef, hamza,
ta marbuta or ya, which are spelling; only `fold` does, and nothing folded is ever published.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

TASHKEEL = (
    "\u064b-\u065f\u0670\u0610-\u061a\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u08d3-\u08e1\u08e3-\u08ff"
)
"""Marks above and below letters, as a class of a regular expression: vowels, tanwin, shadda, signs of the Quran."""
INVISIBLE = "\u200b\u200e\u200f\u061c\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\u00ad"
"""Signs without a shape, as a class: zero-width space, direction controls, byte order mark, soft hyphen."""
FOREIGN = "پچژگٹڈڑںےھہکیەۆێې"
"""Letters of Persian, Urdu and Kurdish that Arabic does not have."""

_LETTER = "\u0620-\u063f\u0641-\u064a\u066e-\u06d3\u06d5\u06fa-\u06ff\u0750-\u077f\u08a0-\u08c9"
_CLEAN = re.compile(f"[{INVISIBLE}\u0640\u200c\u200d\ufb50-\ufdff\ufe70-\ufefe]")
_JOINERS = re.compile(
    "(?<![\u0900-\u0dff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]+"
)
_INVISIBLES = re.compile(f"[{INVISIBLE}]+")
_TATWEEL = re.compile(
    f"(?<=[^\\S\n])\u0640++(?=[^\\S\n])|(?<![{_LETTER}{TASHKEEL}\u0640])(\u0640)\u0640*+(?=[{TASHKEEL}])"
    f"|(?<![{_LETTER}{TASHKEEL}\u0640])(\u0647\u0640)\u0640*+(?![{_LETTER}{TASHKEEL}])|\u0640+"
)
_PRESENTATION = re.compile("[\ufb50-\ufbb1\ufbd3-\ufd3d\ufd50-\ufdf9\ufe70-\ufefc]+")
_EASTERN = re.compile("[\u0660-\u0669\u06f0-\u06f9]")
_DIGITS = {ord(sign): str(value) for digits in ("٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹") for value, sign in enumerate(digits)}
_SEPARATORS = re.compile("(?<=[0-9])[\u066b\u066c](?=[0-9])")
_QUOTED = re.compile('«[^«»\n]*+»|"[^"\n]*+"|“[^“”\n]*+”')
_FOREIGN = re.compile("[\u06a9\u06aa\u06cc\u06d2\u06ce\u06c1\u06be\u06d5\u06c0\u06c2\u06c3]")
_LETTERS = str.maketrans("\u06a9\u06aa\u06d2\u06ce\u06c1\u06be\u06d5\u06c0\u06c2\u06c3", "ككييهههههة")
_INNER_YEH = re.compile(f"\u06cc(?=[{TASHKEEL}]*+[{_LETTER}\u0640])")
_WORD = re.compile(f"[{_LETTER}{TASHKEEL}]++")
_MARKS = re.compile(f"[{TASHKEEL}]+")
_MARKS_OF_MAQSURA = "\u064b\u0670"


def _ending(words: str, nouns: str) -> re.Pattern[str]:
    """Match words without their last letter, after `and`; nouns after the article and prepositions, too."""

    def stems(some: str) -> str:
        return "|".join(
            sorted({form[:-1] for word in some.split() for form in (word, re.sub("^(ال)?[أإ]", r"\1ا", word))})
        )

    return re.compile(f"[وف]?(?:{stems(words)}|(?:[بك]?ال|لل|[بلك])?(?:{stems(nouns)}))")


_MAQSURA = _ending(
    "على إلى حتى متى لدى سوى بلى عسى شتى الأولى القرى تعالى أعطى أدى ألقى أنهى ألغى انتهى اشترى التقى استولى"
    " اكتفى احتوى اختفى ارتدى سعى كفى مضى روى بكى سمى يرى ترى نرى أرى يبقى تبقى يسعى تسعى نسعى يسمى تسمى يخشى"
    " ينسى يحظى تحظى يتلقى يتولى يتبنى يتمنى",
    "معنى مبنى منحى مرمى مجرى مغزى مأوى مدى مستوى محتوى مستشفى مشفى منفى مقهى ملهى مسعى مثنى مسمى مستثنى منتدى"
    " ملتقى مبتغى مقتضى موسيقى هدى رؤى ذكرى شورى فتوى دعوى شكوى عدوى جدوى تقوى نجوى فوضى أنثى إحدى أخرى أعلى"
    " أدنى أقصى أقوى أغنى أرقى أذكى أحلى أغلى أسمى أنقى كبرى صغرى عظمى وسطى قصوى فصحى جرحى قتلى مرضى موتى يتامى"
    " نصارى سكارى صحارى عذارى كسالى قدامى فتاوى شكاوى دعاوى مصطفى مرتضى موسى عيسى يحيى",
)
"""Common words that end in alef maqsura; not those that are as common with a yeh, as قوى and قوي."""
_YEH = _ending(
    "في هي التي الذي كي لكي لي بي عني إني لأني لكني فعلي بقي نسي يعني يأتي تأتي يؤدي تؤدي يكفي يعطي تعطي"
    " ينبغي يحتوي تحتوي ينتهي تنتهي يجري تجري الصحي يلي",
    "أي أمي أخي ثاني تالي حالي ماضي عالي مالي باقي كافي قاضي أراضي حوالي عربي غربي شرقي جنوبي شمالي محلي دولي"
    " وطني عالمي علمي عملي رسمي أساسي رئيسي سياسي ثقافي تاريخي طبيعي حقيقي شخصي طبي فني تقني رقمي ذكي عادي مادي"
    " ديني مدني أمني ذهني تعليمي تقليدي تجاري إداري جماعي صناعي زراعي سنوي شهري يومي أسبوعي لغوي حكومي زمني أصلي ذاتي",
)
"""Common words that end in yeh."""
_YEH_SHAPE = re.compile(f".*ئ|(?>[وف]?(?:[بك]?ال|لل)?)(?![يتن]|أت|است)[{_LETTER}]{{3,}}[اوي][{_LETTER}]")
"""Adjectives such as اقتصادي and قانوني: a long vowel and one letter before the yeh; not what may be a verb."""


def clean(text: str) -> str:
    """Return the text composed (NFC), without tatweel and signs that nobody sees, and with letters in their base form.

    Tatweel stays in هـ (the Hijri year) and under a mark that stands alone; joiners stay in emoji and Indic scripts.
    """
    if _CLEAN.search(text):
        text = _INVISIBLES.sub("", text)
        text = _PRESENTATION.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
        text = _JOINERS.sub("", text)
        text = _TATWEEL.sub(_tatweel, text)
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _tatweel(found: re.Match[str]) -> str:
    if found[1] or found[2]:
        return found[1] or found[2]
    alone = found.string[found.start() - 1 : found.start()].isspace() and found.string[found.end() :][:1].isspace()
    return "-" if alone else ""


def mixes_digits(text: str) -> bool:
    """Tell whether a text writes some numbers with ٠١٢ and some with 012, quotations aside."""
    if not _EASTERN.search(text):
        return False
    unquoted = _QUOTED.sub(" ", text)
    return bool(_EASTERN.search(unquoted)) and any("0" <= sign <= "9" for sign in unquoted)


def quotations(text: str) -> list[tuple[int, int]]:
    """Return where quotations start and end."""
    return [found.span() for found in _QUOTED.finditer(text)]


def european_digits(text: str) -> str:
    """Return the text with European digits, and a European decimal sign between them."""
    return _SEPARATORS.sub(lambda found: "." if found[0] == "\u066b" else ",", text.translate(_DIGITS))


def arabic_letters(text: str) -> str:
    """Return the text with the Arabic form of letters that Persian, Urdu and Kurdish write with another sign.

    A Farsi yeh inside a word is a yeh. At its end it may be an alef maqsura as well, so it becomes what common words,
    a mark on it or the shape of the word say; علی is taken for the preposition, not for the name. In other words it
    stays as it is.
    """
    if not _FOREIGN.search(text):
        return text
    text = text.translate(_LETTERS)
    return _WORD.sub(_final_yeh, _INNER_YEH.sub("ي", text)) if "\u06cc" in text else text


def foreign_letters(text: str) -> int:
    """Count the letters in `FOREIGN`."""
    return sum(map(text.count, FOREIGN))


def _final_yeh(found: re.Match[str]) -> str:
    word = found[0]
    before, yeh, marks = word.rpartition("\u06cc")
    if not yeh:
        return word
    stem = _MARKS.sub("", before)
    if marks.strip(_MARKS_OF_MAQSURA) or _YEH.fullmatch(stem):
        return f"{before}ي{marks}"
    if _MAQSURA.fullmatch(stem):
        return f"{before}ى{marks}"
    return f"{before}ي{marks}" if _YEH_SHAPE.fullmatch(stem) else word


def fold(text: str) -> str:
    """Return what two spellings of one Arabic or English text have in common; for hashing and comparison only."""
    return fold_all([text])[0]


def fold_all(texts: Sequence[str]) -> list[str]:
    """Fold many texts in one pass; see `fold`."""
    if not texts:
        return []
    joined = _SEPARATOR.join(text.replace(_SEPARATOR, "") for text in texts)
    if not unicodedata.is_normalized("NFC", joined):
        joined = unicodedata.normalize("NFC", joined)
    points = np.frombuffer(joined.casefold().encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    folded = np.take(_FOLD, points, mode="clip")
    if (high := points >= _FOLD.size).any():
        folded[high] = points[high]
    folded = folded[folded != _GONE]
    again = folded == _SPACE
    again[1:] &= folded[:-1] == _SPACE
    again[:1] = False
    one = folded[~again].tobytes().decode("utf-32-le", "surrogatepass")
    return [text.strip(" ") for text in one.split(_SEPARATOR)]


_SEPARATOR = "\U0010ffff"
"""Stands between texts that are folded together; it is no character, and is removed from those that hold it."""
_GONE = 0x110000
_SPACE = 0x20


def _folding() -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    table = np.arange(0x10000, dtype=np.uint32)
    for point in range(0x10000):
        if chr(point).isspace():
            table[point] = _SPACE
    for sign in re.findall(f"[{TASHKEEL}{INVISIBLE}\u0640\u200c\u200d\ufe0f]", "".join(map(chr, range(0x10000)))):
        table[ord(sign)] = _GONE
    for group, base in (("أإآٱٲٳ", "ا"), ("ىیےۓۍێ", "ي"), ("ةۃھہەۀۂ", "ه"), ("کڪګ", "ك")):
        for sign in group:
            table[ord(sign)] = ord(base)
    for point, digit in _DIGITS.items():
        table[point] = ord(digit)
    return table


_FOLD = _folding()
