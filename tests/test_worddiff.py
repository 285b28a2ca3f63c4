"""Words that one text has and another has not."""

from hypothesis import given
from hypothesis import strategies as st

from dapa.writing.worddiff import changed_words

TEXTS = st.lists(st.sampled_from(["I", "cannot", "help", "sure,", "do", "it."]), max_size=12).map(
    " ".join
)


def picked(text, spans):
    return [text[start:stop] for start, stop in spans]


def test_the_changed_words_of_a_reply_are_found():
    text, against = "I cannot  help you rob a bank.", "I can help you rob a bank."
    assert picked(text, changed_words(text, against)) == ["cannot"]
    assert changed_words(text, text) == ()
    assert picked("one two", changed_words("one two", "")) == ["one two"]
    assert changed_words("", "one") == ()


@given(TEXTS, TEXTS)
def test_what_is_left_unmarked_stands_in_the_other_text_in_that_order(text, against):
    spans = changed_words(text, against)
    assert list(spans) == sorted(spans)
    kept = list(text)
    for start, stop in spans:
        assert text[start:stop].strip() == text[start:stop] != ""
        kept[start:stop] = " " * (stop - start)
    rest = iter(against.split())
    assert all(word in rest for word in "".join(kept).split())
