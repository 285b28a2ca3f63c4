"""What the server remembers of browser tabs: by their own secret, so many, in memory only."""

from dapa.core.owner import Owner
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


def test_a_page_that_opens_goes_on_with_what_its_tab_held_and_never_writes_over_a_twin():
    tabs = Tabs()
    tabs.hold(secret(1), Wanted(SAVED))
    for twin in (2, 3):  # a duplicated tab has the secret of the first
        tabs.hand_over(secret(1), secret(twin))
    tabs.hold(secret(2), Wanted(SAVED, prompt="mine"))
    assert [tabs.of(secret(n)).prompt for n in (1, 2, 3)] == ["", "mine", ""]
    tabs.hand_over("nobody", secret(4))
    tabs.hand_over(secret(1), "no secret")
    assert tabs.of(secret(4)) is None and tabs.of("no secret") is None


def test_what_was_held_with_one_pair_outlives_what_is_done_with_another():
    tabs, other = Tabs(), ChatSession({"name": "", "student": "x", "teacher": "y"}, "")
    tabs.hold(secret(1), Wanted(SAVED))
    tabs.hold(secret(1), Wanted(other))
    assert tabs.of(secret(1)).saved is other, "the newest, where neither pair is loaded"
    assert tabs.of(secret(1), Owner("toy", "s", "t")).saved is SAVED
    assert tabs.of(secret(1), Owner("", "x", "y")).saved is other


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
