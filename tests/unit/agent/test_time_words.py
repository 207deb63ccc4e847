"""Words that ask about the moment, in many languages."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.agent.time_words import DEFAULT_TIME_WORDS, TimeWords

OURS = TimeWords.parse("")
WORDS = [word.strip() for word in DEFAULT_TIME_WORDS.split(",")]

ABOUT_NOW = {
    "en": ["What time is it now?", "NOW", "Today's news", "the latest, please", "is\u2014now\u2014on?"],
    "de": ["Wie ist das Wetter heute?", "Was ist JETZT?", "die aktuelle Lage", "Morgen frei", "neueste Zahlen"],
    "fr": ["Quel temps fait-il aujourd'hui\u00a0?", "Aujourd\u2019hui", "l'heure actuelle", "CE  SOIR"],
    "es": ["\u00bfQu\u00e9 hora es ahora?", "ma\u00f1ana", "man\u0303ana", "\u00daltimas noticias"],
    "it": ["Che ore sono adesso?", "le notizie di oggi", "il presidente attuale", "l'attuale", "domani"],
    "pt": ["Que horas s\u00e3o agora?", "o tempo hoje", "amanh\u00e3", "a situa\u00e7\u00e3o atual"],
    "nl": ["Hoe laat is het nu?", "vandaag", "de huidige koers", "gisteren"],
    "sv": ["Vad \u00e4r klockan nu?", "i dag", "idag", "senaste nytt", "ig\u00e5r"],
    "pl": ["Jaka jest teraz pogoda?", "DZI\u015a", "aktualny kurs", "wczoraj"],
    "ru": ["Который сейчас час?", "Сегодня", "последние новости", "завтра"],
    "tr": ["\u015eimdi saat ka\u00e7?", "\u015e\u0130MD\u0130", "BUG\u00dcN", "YARIN", "yar\u0131n"],
    "zh": ["现在几点", "今天天气怎么样", "請問現在幾點", "最新消息"],
    "ja": ["今日の天気は", "現在の時刻", "最新のニュース", "今何時ですか"],
    "ko": ["지금 몇 시예요?", "오늘의 날씨", "최신뉴스"],
    "ar": ["كم الساعة الآن؟", "الان", "الآنَ", "أخبار اليوم"],
    "hi": ["अब क्या समय है?", "आज का मौसम", "ताज़ा ख़बर"],
}  # fmt: skip


@pytest.mark.parametrize("text", [text for texts in ABOUT_NOW.values() for text in texts])
def test_what_asks_about_the_moment_is_found(text: str) -> None:
    assert OURS.are_in(text)


@pytest.mark.parametrize(
    "text", ["_today_", "right_now", "*today*", "to\u00adday", "n\u200bow", "What time is it?", "news at the moment"]
)
def test_marks_around_a_word_and_in_it_do_not_hide_it(text: str) -> None:
    assert OURS.are_in(text)


@pytest.mark.parametrize("odd", ["a" + "\u0316\u0301" * 65_000, "\ufdfa" * 87_000, "e\u0301" * 65_000])
def test_the_longest_odd_task_is_looked_through_in_no_time(odd: str) -> None:
    # Sorting the marks of one letter takes the square of their number: this text took 13 s.
    assert OURS.are_in(f"{odd} now")
    assert not OURS.are_in(odd)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I know it",
        "Snow",
        "nowhere",
        "unknown",
        "the currency",
        "undercurrent",
        "slatest",
        "knownowing",
        "actually",
        "heutzutageige",
        "malheureux aujourd",
        "hui clos",
        "atualizar",
        "nuance",
        "teoria",
        "сегодняшн",
        "आजादी",
        "कला",
        "안내일정",
        "います",
        "你好",
        "الآنسة",
        "Wer ist hier der Chef?",
        "the actual price",
        "en son honneur",
    ],
)
def test_words_that_only_contain_such_words_do_not_count(text: str) -> None:
    assert not OURS.are_in(text)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_of_ours_is_found_in_any_case_and_form(word: str) -> None:
    for written in (word, word.upper(), word.title(), word.replace("'", "\u2019")):
        assert OURS.are_in(f"({written})")
        assert OURS.are_in(unicodedata.normalize("NFD", written))


def test_a_word_is_whole_where_another_script_begins() -> None:
    assert OURS.are_in("请问now是几点")


@given(text=st.text())
def test_any_text_can_be_looked_at(text: str) -> None:
    assert OURS.are_in(f"{text} now")


def test_a_list_of_ones_own_takes_the_place_of_ours() -> None:
    words = TimeWords.parse(" stock price , Börse")
    assert [words.are_in(text) for text in ("stock   PRICE?", "the börse", "stock", "now")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_list_that_begins_with_a_plus_is_added_to_ours() -> None:
    words = TimeWords.parse("+ stock price,Börse")
    assert all(words.are_in(text) for text in ("stock price", "Börse", "now"))


def test_a_minus_alone_is_no_word_at_all() -> None:
    assert not TimeWords.parse("-").are_in("now")


@pytest.mark.parametrize("text", ["", " ", ",", "+"])
def test_without_a_word_the_list_is_ours(text: str) -> None:
    assert TimeWords.parse(text).are_in("now")


def test_a_word_without_a_letter_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'\?!' has no letter"):
        TimeWords.parse("now, ?!")
