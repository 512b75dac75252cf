"""Words and sentences: nothing is lost, ids are those of a plain count."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from saltus.tasks.text.words import UNKNOWN, encoded, sentences_of, vocabulary_of, words_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
SENTENCES = st.lists(st.lists(st.sampled_from([*"abcdefg", UNKNOWN]), max_size=6), max_size=8)


def test_words_are_runs_of_letters_single_digits_and_single_marks():
    assert words_of("x_1 = 'don't' 42;") == ["x_", "1", "=", "'", "don", "'", "t", "'", *"42;"]


def test_sentences_end_after_stops_and_at_blank_lines():
    text = "One two. Three:\nfour; five! Six? seven\neight\n \nNINE 3.5"
    spelt = [" ".join(sentence) for sentence in sentences_of(text)]
    assert spelt[:3] == ["one two .", "three :", "four ;"]
    assert spelt[3:] == ["five ! six ? seven eight", "nine 3 . 5"]


@given(text=TEXT)
def test_every_character_but_space_is_in_one_word(text):
    sentences = sentences_of(text)
    assert all(sentences)
    assert "".join(word for sentence in sentences for word in sentence) == "".join(
        text.lower().split()
    )


@given(sentences=SENTENCES, size=st.integers(2, 9))
def test_frequent_ids_go_by_count_and_the_last_is_unknown(sentences, size):
    ids = vocabulary_of(sentences, "frequent", size)
    counts = Counter(word for sentence in sentences for word in sentence if word != UNKNOWN)
    known = [word for word in ids if word != UNKNOWN]
    assert ids[UNKNOWN] == size - 1
    assert [ids[word] for word in known] == list(range(len(known)))
    assert len(known) == min(size - 1, len(counts))
    assert [counts[word] for word in known] == sorted(counts.values(), reverse=True)[: len(known)]
    for sentence in sentences:
        for word, index in zip(sentence, encoded(sentence, ids), strict=True):
            assert index == ids.get(word, size - 1)


@given(sentences=SENTENCES)
def test_ids_by_first_appearance_are_those_of_a_plain_loop(sentences):
    expected = {}
    for sentence in sentences:
        for word in sentence:
            if word not in expected:
                expected[word] = len(expected)
    if UNKNOWN not in expected:
        expected[UNKNOWN] = len(expected)
    assert vocabulary_of(sentences, "first-appearance", 2) == expected
