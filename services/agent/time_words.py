"""Words that ask about the moment: an answer to them is old as soon as it is given."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

DEFAULT_TIME_WORDS = """
now, current, currently, today, todays, tonight, tomorrow, yesterday, latest, at the moment, at this moment, these days,
this week, this month, this year, what time is it, what day is it, recent news, last news,
jetzt, derzeit, momentan, gegenwärtig, aktuell, aktuelle, aktuellem, aktuellen, aktueller, aktuelles, heute, heutige,
heutigen, heutiger, morgen, gestern, neueste, neuesten, neuester, neuestes,
maintenant, en ce moment, actuel, actuelle, actuels, actuelles, actuellement, aujourd'hui, ce soir, cette nuit, demain,
dernière, dernières, derniers, plus récent, plus récente, plus récents, plus récentes,
ahora, actualmente, hoy, esta noche, mañana, ayer, últimas, últimos, más reciente, más recientes,
adesso, ora, attuale, attuali, attualmente, oggi, stasera, stanotte, domani, ieri, ultime, ultimissime, più recente,
più recenti,
agora, atual, atuais, atualmente, hoje, esta noite, hoje à noite, amanhã, ontem, últimas, últimos, mais recente,
mais recentes,
nu, momenteel, huidig, huidige, actueel, actuele, vandaag, vanavond, vannacht, gisteren, nieuwste, laatste nieuws,
aktuellt, aktuella, nuvarande, idag, i dag, ikväll, i kväll, inatt, i natt, imorgon, i morgon, igår, i går, senaste,
teraz, obecnie, obecny, obecna, obecne, aktualnie, aktualny, aktualna, aktualne, dziś, dzisiaj, dzisiejszy, dzisiejsza,
dzisiejsze, jutro, wczoraj, najnowszy, najnowsza, najnowsze, ostatnie wiadomości,
сейчас, теперь, нынче, текущий, текущая, текущее, текущие, текущего, текущей, актуальный, актуальная, актуальное,
актуальные, сегодня, сегодняшний, сегодняшняя, сегодняшнее, сегодняшние, завтра, вчера, последние, свежие, новейший,
новейшая, новейшие,
şimdi, şu an, şu anda, şu anki, güncel, bugün, bugünkü, bugünün, bu gece, bu akşam, yar\u0131n, yar\u0131nki, dün,
dünkü, en yeni, son dakika,
现在, 現在, 目前, 当前, 當前, 此刻, 今天, 今日, 今晚, 明天, 明日, 昨天, 昨日, 最新,
今は, 今の, 今すぐ, 今何, 今夜, 今晩, 今朝, 本日, ただいま,
지금, 현재, 오늘, 내일, 어제, 최신,
الآن, حاليا, حالياً, الحالي, الحالية, اليوم, الليلة, غدا, غداً, أمس, البارحة, أحدث, الأحدث,
अब, अभी, फिलहाल, वर्तमान, मौजूदा, आज, आजकल, कल, नवीनतम, ताज़ा, ताजा
"""
"""Of English, German, French, Spanish, Italian, Portuguese, Dutch, Swedish, Polish, Russian, Turkish, Chinese,
Japanese, Korean, Arabic and Hindi. A word too many costs a call of the model, a word too few gives out an answer that
was true an hour ago. Missing on purpose are words that are common in another language: the French "hier" (German for
"here"), the Spanish "actual", the Turkish "en son".
"""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3400-\u9fff"
"""Scripts that put no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_HANGUL = "\uac00-\ud7a3"
"""Korean ends its words with particles."""
_MARKS = "\u0300-\u036f\u0670\u0900-\u0903\u093a-\u094f\u0955-\u0957\u0962\u0963\u200c\u200d"
"""Parts of words that are no word characters to `re`: accents, and the vowels of Hindi."""

_INVISIBLE = frozenset("\u00ad\u200b\u2060\ufeff")
_LIGATED_PHRASES = re.compile("[\ufdf0-\ufdfd]")
"""Single characters that stand for up to 18."""
_MOST_MARKS = 30
"""More marks on one letter than any text has (Unicode, Annex 15: stream-safe text); to sort them takes the square."""

_WORDS = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}_])[\w{_MARKS}])+")
_BEGINS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_BEGINS_HANGUL = re.compile(f"[{_HANGUL}]")

# Turkish has an i with and one without a dot, in both cases; Arabic is written with and without vowels and hamzas.
_VARIANTS = str.maketrans(
    "\u0131\u0623\u0625\u0622",
    "i\u0627\u0627\u0627",
    "\u0307\u0640\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652",
)


class TimeWords:
    """A list of words, and phrases of several."""

    def __init__(self, words: Iterable[str]) -> None:
        needles = list(dict.fromkeys(_needle(word) for word in words))
        self._words = frozenset(needle.strip() for needle in needles if _is_one_word(needle))
        self._parts = tuple(needle for needle in needles if not _is_one_word(needle))
        """Phrases, and what is a word in the middle of others too."""

    @classmethod
    def parse(cls, text: str) -> "TimeWords":
        """Reads a comma-separated list. One that begins with "+" is added to ours, empty text is ours alone, and "-" is
        no word at all. Raises ValueError for a word without a letter."""
        if text.strip() == "-":
            return cls(())
        added = text.strip().startswith("+")
        words = _listed(text.strip().removeprefix("+"))
        return cls([*_listed(DEFAULT_TIME_WORDS), *words] if added or not words else words)

    def are_in(self, text: str) -> bool:
        """Whether one of them is in the text as a whole word: "know" does not ask about now."""
        words = _spaced(text)
        return not self._words.isdisjoint(words.split()) or any(part in words for part in self._parts)


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _is_one_word(needle: str) -> bool:
    return needle.startswith(" ") and needle.endswith(" ") and " " not in needle.strip()


def _needle(word: str) -> str:
    """What to look for in text in which a space stands on both sides of each word."""
    words = _spaced(word)
    if not words.strip():
        raise ValueError(f"{word!r} has no letter")
    if _BEGINS_UNSPACED.match(words.strip()):
        return words.strip()
    return words.rstrip() if _BEGINS_HANGUL.match(words.strip()) else words


def _spaced(text: str) -> str:
    """The words of a text, compared without case, with a space before and behind each; whatever is no word is gone."""
    return f" {' '.join(_WORDS.findall(text.casefold() if text.isascii() else _folded(text)))} "


def _folded(text: str) -> str:
    """Without case and without what writes the same text in two ways."""
    shown = "".join(_shown(_LIGATED_PHRASES.sub(" ", text)))
    folded = unicodedata.normalize("NFKC", shown).casefold().translate(_VARIANTS)
    return unicodedata.normalize("NFKC", folded)


def _shown(text: str) -> Iterator[str]:
    """Characters that show: no soft hyphens and zero-width spaces, and no more marks on a letter than it can have."""
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MOST_MARKS and character not in _INVISIBLE:
            yield character
