"""Pictures and pages that leave the dashboard: named, told where they are from, asking nobody."""

import pytest
from screen import dashboard, until, visitors

from dapa.cli import main

pytestmark = pytest.mark.browser


def saved_picture(page, plot):
    """What the camera button of a plot gives."""
    page.hover(f"{plot} .js-plotly-plot")
    with page.expect_download() as download:
        page.click(f"{plot} .modebar-btn[data-title*='as a PNG']")
    return download.value


def test_the_camera_button_saves_a_picture_named_after_its_figure(toy_pair, tmp_path, chromium):
    with (
        dashboard(toy_pair, tmp_path) as board,
        visitors(board, chromium) as enter,
    ):
        page = enter(accept_downloads=True)
        page.wait_for_selector("#view .finding")
        for plot, name in (("#heatmap", "divergence-"), ("#view-plot", "gap-")):
            page.wait_for_selector(f"{plot} .js-plotly-plot .modebar-btn", state="attached")
            until(lambda plot=plot: "toy-gate" in page.text_content(f"{plot} .infolayer"))
            saved = saved_picture(page, plot)
            assert saved.suggested_filename.startswith(f"dapa-{name}")
            assert saved.suggested_filename.endswith(".png")
            target = tmp_path / saved.suggested_filename
            saved.save_as(target)
            assert target.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", ["gap", "gradients"])
def test_an_exported_page_draws_offline_and_asks_nobody(command, tmp_path, chromium):
    target = tmp_path / "page.html"
    limit = ["--prompt-limit", "4", "--html", str(target)]
    with pytest.raises(SystemExit) as ended:
        main([command, "--pair", "toy-gate", *limit])
    assert ended.value.code in (0, None)
    context = chromium.new_context(offline=True, accept_downloads=True)
    try:
        page = context.new_page()
        asked, complaints = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: complaints.append(line.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(target.as_uri())
        count = page.locator("figure").count()
        assert count
        page.wait_for_function(
            "n => document.querySelectorAll('figure .main-svg .subplot').length >= n", arg=count
        )
        assert "toy-gate" in page.text_content("figure .infolayer"), "each picture says its origin"
        with page.expect_download() as download:
            page.hover("#figure-0")
            page.click("#figure-0 .modebar-btn[data-title*='as a PNG']")
        assert download.value.suggested_filename.startswith("dapa-")
        elsewhere = [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
        assert not elsewhere and not complaints
        assert [url for url in asked if url.startswith("file:")] == [target.as_uri()]
    finally:
        context.close()
