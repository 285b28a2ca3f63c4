"""What the server remembers of browser tabs: by their own secret, so many, in memory only."""

from dapa.ui.tabs.chat.opening import TABS, Tabs, Wanted
from dapa.workbench import ChatSession

SAVED = ChatSession({"name": "toy", "student": "s", "teacher": "t"}, "4.gate")


def secret(number):
    return f"{number:032x}"


def test_a_tab_finds_what_it_held_last_and_no_other_tab_does():
    tabs = Tabs()
    tabs.hold(secret(1), Wanted(SAVED))
    tabs.hold(secret(1), Wanted(SAVED, veil=("teacher",), held=True))
    assert tabs.of(secret(1)).veil == ("teacher",) and tabs.of(secret(2)) is None


def test_what_is_no_secret_holds_nothing_and_finds_nothing():
    tabs = Tabs()
    for word in ("", None, 7, [secret(1)], secret(1)[1:], secret(1).upper().replace("0", "A")):
        tabs.hold(word, Wanted(SAVED))
        assert tabs.of(word) is None


def test_the_tab_that_was_heard_of_longest_ago_is_forgotten_first():
    tabs = Tabs()
    for number in range(TABS):
        tabs.hold(secret(number), Wanted(SAVED))
    tabs.hold(secret(0), Wanted(SAVED))
    tabs.hold(secret(TABS), Wanted(SAVED))
    assert tabs.of(secret(0)) and tabs.of(secret(TABS)) and tabs.of(secret(1)) is None


def test_a_duplicated_tab_gets_a_copy_and_the_two_part():
    tabs, other = Tabs(), ChatSession(SAVED.pair, "5.gate")
    tabs.hold(secret(1), Wanted(SAVED))
    assert tabs.come(secret(2), secret(1)) == Wanted(SAVED)
    tabs.hold(secret(2), Wanted(other))
    assert tabs.come(secret(1), "").saved == SAVED and tabs.come(secret(2), "").saved == other
    assert tabs.come(secret(3), "") is None is tabs.of(secret(3))
