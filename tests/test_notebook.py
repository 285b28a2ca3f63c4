"""What a notebook shows: measurements as their pictures, and the whole dashboard as Blocks."""

import re
from html import unescape

import gradio as gr
import httpx
import pytest

from dapa.workbench import Workbench


def test_a_measurement_draws_itself_in_a_frame_that_needs_nothing_else(toy_pair, tmp_path):
    bench = Workbench(tmp_path, toy_pair)
    told = bench.measure("weights")
    html = told._repr_html_()
    (held,) = re.findall(r'srcdoc="([^"]*)"', html)
    page = unescape(held)
    assert page.startswith("<!doctype html>") and page.count("Plotly.newPlot") >= 1
    assert 'sandbox="allow-scripts' in html and "default-src 'none'" in page
    assert told.of.heading in page and told.origin.split(",")[0] in unescape(page)


def test_a_workbench_says_what_it_holds(toy_pair, tmp_path):
    assert "load(spec" in Workbench(tmp_path)._repr_html_()
    html = Workbench(tmp_path, toy_pair)._repr_html_()
    assert "12 layers" in html and "gap, " in html


@pytest.mark.browser
def test_its_app_is_the_dashboard_with_its_shield_and_lets_a_notebook_frame_it(toy_pair, tmp_path):
    page = Workbench(tmp_path, toy_pair).app()
    assert isinstance(page, gr.Blocks)
    page.launch(prevent_thread_lock=True, server_port=None, inline=False)
    try:
        with httpx.Client(trust_env=False) as client:
            answer = client.get(page.local_url)
            policy = answer.headers["content-security-policy"]
            assert "frame-ancestors 'self' http://localhost:*" in policy and "'nonce-" in policy
            assert client.get(page.local_url, headers={"Host": "evil.invalid"}).status_code == 421
    finally:
        page.close(verbose=False)
