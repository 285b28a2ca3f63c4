"""The one helper that builds HTML: whatever a value is, a browser reads it as text."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dapa.core.html import Html, escaped, html, joined, when

ANY = st.text(st.characters(exclude_characters="\r\x00"))  # a parser may read those otherwise
"""Half characters too: they are sent as a sign."""


class Read(HTMLParser):
    """The tags, attributes and text that a page has."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def sent(text):
    return text.encode("utf-8", "replace").decode()


@given(ANY, ANY)
def test_a_value_is_text_wherever_it_stands(text, attribute):
    for page in (
        html('<b title="{}">{}</b>', attribute, text),
        html("<b title='{other}'>{text}</b>", other=attribute, text=text),
        html("{}", html('<b title="{}">{}</b>', attribute, text)),
        joined([html('<b title="{}">', attribute), text, html("</b>")]),
    ):
        read = Read(page)
        assert read.tags == [("b", {"title": sent(attribute)})]
        assert read.text == sent(text)
        assert isinstance(page, Html)


@given(st.lists(ANY), ANY)
def test_what_is_joined_is_text_and_so_is_what_stands_between(parts, by):
    assert Read(joined(parts, by)).text == sent(by).join(map(sent, parts))


def test_numbers_are_written_as_their_format_says():
    assert html("{:,} {share:.1f}\u2009% {}", 1234, None, share=2.04) == "1,234 2.0\u2009% None"
    assert html("{0}{{}}", "x") == "x{}"


def test_a_part_that_is_not_there_leaves_nothing():
    assert html("<p{}>", when(False, ' class="{}"', "x")) == "<p>"
    assert html("<p{}>", when([0], ' class="{}"', '"')) == '<p class="&#34;">'


@pytest.mark.parametrize(
    "template", ["<p {}>", "<p{}>", "<p class={}>", " class={}", "<{}>", '<p a="{b}"{}>', "<br/{}>"]
)
def test_no_text_becomes_an_attribute_or_a_tag(template):
    with pytest.raises(TypeError, match="would be an attribute"):
        html(template, "onclick=alert(1)", b="")
    assert html(template, html("x"), b="").count("x") == 1


@pytest.mark.parametrize("template", ['<p a="{}">', "1 < {}", "<p>{}", "<p a='>{}'>", "{}<p>"])
def test_quotes_and_text_take_any_value(template):
    assert "&lt;" in html(template, "<")


def test_whoever_shows_a_text_sees_its_signs():
    assert escaped("<b>") == "&lt;b&gt;" and escaped(html("<b>")) == "<b>"
    assert escaped(ValueError("a\ud800<")) == "a?&lt;"
