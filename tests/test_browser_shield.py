"""The nonce in a real browser: the page lives, and a script that got into it stays dead."""

import pytest
from screen import ask, dashboard, press, tab, until, visitors

from dapa.planted.pairs import harmful_prompts

pytestmark = pytest.mark.browser
INJECTED = """() => {
  window.ran = [];
  const box = document.createElement('div');
  box.innerHTML = '<img src="data:," onerror="ran.push(1)"><svg onload="ran.push(2)"></svg>'
    + '<a id="bad" href="javascript:ran.push(3)">x</a>';
  document.body.append(box);
  const script = document.createElement('script');
  script.textContent = 'ran.push(4)';
  document.body.append(script);
  document.getElementById('bad').click();
}"""


@pytest.fixture(scope="module")
def board(toy_pair, tmp_path_factory):
    with dashboard(toy_pair, tmp_path_factory.mktemp("runs")) as served:
        yield served


def test_strip_chat_plots_and_tabs_live_under_the_policy(board, chromium):
    with visitors(board, chromium) as enter:
        page = enter()
        page.wait_for_selector("#page .js-plotly-plot .main-svg", state="attached")
        press(page, 4, 5)
        tab(page, "Chat")
        ask(page, harmful_prompts(1)[0])
        for name in ("Search", "Evaluate", "Runs", "Localize"):
            tab(page, name)
            until(lambda n=name: page.get_by_role("tab", name=n, selected=True).count())


def test_a_script_that_got_into_the_page_does_not_run(board, chromium):
    context = chromium.new_context()
    page = context.new_page()
    refused = []
    page.on("console", lambda said: refused.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: pytest.fail("a dialog opened"))
    page.goto(board.url)
    page.wait_for_selector("#strip [role=gridcell]")
    page.evaluate(INJECTED)
    until(lambda: sum("Content Security Policy" in line for line in refused) >= 3)
    assert page.evaluate("() => window.ran") == []
    context.close()
