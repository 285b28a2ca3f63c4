"""No markup is made of strings: every template is a literal, every value in it is escaped.

Read from the source, as the floors are; and the places where a browser is handed HTML are tried.
"""

import ast
import asyncio
import re

import gradio as gr
import pytest
from test_floors import FILES, tree

from dapa.core.html import html
from dapa.ui.checked_blocks import Page
from dapa.ui.dashboard import Dashboard, piece
from dapa.ui.page import build
from dapa.ui.sinks import toast
from dapa.workbench import Workbench

MARKUP = re.compile(
    r"(?<!\?P)</?[a-z][\w-]*[ />]|</?([a-z][\w-]*)?$|\b[\w-]+=\"|&(?:#\d+|[a-z]+);", re.IGNORECASE
)
"""A tag, the begin of one, an attribute with its quote, an entity; no named group of a regex."""

BUILDERS = {"html": 0, "when": 1}
"""A builder of `dapa.core.html` -> which argument is its template."""

OTHER_LANGUAGES = {
    "dapa.core.html": "reads the signs of a template",
    "dapa.judges.reply_parts": "the tags in which models think",
    "dapa.model.probe": "the tags in which models think",
    "dapa.planted.vocabulary": "tokens of the planted models",
    "dapa.planted.wiring": "tokens of the planted models",
    "dapa.share.report": "keeps plotly's own source from ending its script tag",
    "dapa.ui.shield": "puts a nonce on the script tags of Gradio's template",
}
"""Modules whose strings may look like markup -> what it is; none of them goes through `html`."""

FOREIGN = {"dapa.figures.html_page": "plotly's own page around a figure"}
"""Who hands on markup that a library made."""

COMPONENTS = {
    "dapa.ui.dashboard": "escapes what it begins with; what handlers send is escaped by `Page`",
    "dapa.ui.replay": "its value is JSON for its script, its template an asset",
}
"""Who makes a component that shows HTML."""

OTHERS = {"gr.Markdown", "gr.Chatbot", "gr.Info", "gr.Warning", "gr.Success"}
"""What else of Gradio reads markup; none is used."""

SAFE = {"style": "css", "plotly": "its source", "script": "js", "replay": "html"}
"""What the report's template does not escape: our own assets, and plotly."""


def builders(module):
    """The names under which a module knows the builders -> which argument is the template."""
    found = dict(BUILDERS) if module == "dapa.core.html" else {}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module == "dapa.core.html":
            found |= {
                a.asname or a.name: BUILDERS[a.name] for a in node.names if a.name in BUILDERS
            }
    return found


def calls(module):
    """(called name, call)."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def templates(module):
    """The first argument of each `html`, the second of each `when`."""
    known = builders(module)
    return [call.args[known[name]] for name, call in calls(module) if name in known]


def test_every_template_is_a_literal():
    many = 0
    for module in FILES:
        if module == "dapa.core.html":  # which hands its own on
            continue
        for template in templates(module):
            many += 1
            literal = isinstance(template, ast.Constant) and isinstance(template.value, str)
            assert literal, f"{module}:{template.lineno}: write the template itself there"
    assert many > 300


def strings(module):
    """All of a module's text but its docstrings: constants, and the fixed parts of f-strings."""
    alone = [n.value for n in ast.walk(tree(module)) if isinstance(n, ast.Expr)]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in alone:
            yield node


def loose(module):
    """Strings with markup that are no template."""
    known = templates(module)
    return [n for n in strings(module) if n not in known and MARKUP.search(n.value)]


def test_no_other_string_holds_markup():
    found = {module: loose(module) for module in FILES}
    said = [
        f"{module}:{node.lineno}: {node.value[:60]!r}"
        for module, nodes in found.items()
        if module not in OTHER_LANGUAGES
        for node in nodes
    ]
    assert not said, "make these with html():\n" + "\n".join(said)
    for module in OTHER_LANGUAGES:
        assert found[module], f"{module} needs no exception any more"


LINES = """
f"<b>{x}</b>"
"<td class=%s>" % x
"<p>" + x
"{}</li>".format(x)
"<br>".join(x)
f'<a title="{x}'
f' title="{x}"'
x + "</" + y
f"<{x}>"
["&nbsp;"]
"""


@pytest.mark.parametrize("line", LINES.split("\n")[1:-1])
def test_the_search_for_markup_finds_it_in_any_kind_of_string(line):
    found = [n.value for n in ast.walk(ast.parse(line)) if isinstance(n, ast.Constant)]
    assert any(MARKUP.search(text) for text in found)


def test_markup_is_called_so_in_one_module_only():
    for module in FILES:
        imported = {
            alias.name
            for node in ast.walk(tree(module))
            if isinstance(node, ast.ImportFrom) and node.module == "markupsafe"
            for alias in node.names
        }
        assert not imported or module == "dapa.core.html", f"{module} imports {imported}"
        named = {name for name, call in calls(module) if call.args or call.keywords}
        assert "Html" not in named, f"{module} calls text markup; make it with html()"
        assert ("foreign" in named) == (module in FOREIGN), module


def test_the_report_leaves_only_our_own_files_unescaped():
    from dapa.core.assets import asset

    page = asset("html/report.html").read_text(encoding="utf-8")
    assert set(re.findall(r"\{\{ (\w+) \| safe \}\}", page)) == set(SAFE)
    assert page.count("safe }}") == len(SAFE)
    assert not re.search(r"\w=\{\{|autoescape", page)  # a value in no quotes could be attributes


def test_what_shows_html_is_made_in_one_place():
    for module in FILES:
        made = {name for name, _ in calls(module)}
        assert "gr.HTML" not in made or module in COMPONENTS, module
        assert not made & {"gr.Markdown", "gr.Chatbot", "gr.Info", "gr.Warning", "gr.Success"}, (
            module
        )
        assert "gr.Error" not in made or module == "dapa.ui.sinks", module


def test_a_component_shows_its_value_itself_or_is_the_replay(tmp_path):
    page = build(Dashboard(Workbench(tmp_path)))
    assert isinstance(page, Page)
    shows = [block for block in page.blocks.values() if isinstance(block, gr.HTML)]
    other = [block for block in shows if block.html_template != "${value}"]
    assert len(shows) > 30 and other
    for block in other:
        assert block.html_template.startswith('<div class="replay"')
        assert not re.search(r"[{$]", block.html_template), "no value stands in it"


PAYLOAD = "<img src=x onerror=alert(1)>"


WAYS = {
    "value": lambda value, shown, other: (value, gr.skip()),
    "update": lambda value, shown, other: [gr.update(value=value, visible=True), gr.skip()],
    "by component": lambda value, shown, other: {shown: value},
    "alone": lambda value, shown, other: value,
}
"""How a handler may answer."""


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_that_forgets_to_escape_shows_signs(way):
    with Page() as page:
        shown, other = piece(""), gr.Textbox()
        out = [shown] if way == "alone" else [shown, other]
        gr.Button().click(lambda: None, None, out)
    (fn,) = page.fns.values()
    for value, expected in (
        (PAYLOAD, html("{}", PAYLOAD)),
        (html("<p>{}</p>", PAYLOAD), html("<p>{}</p>", PAYLOAD)),
    ):
        said = WAYS[way](value, shown, other)
        first = asyncio.run(page.postprocess_data(fn, said, None))[0]
        assert (first["value"] if isinstance(first, dict) else first) == expected


def test_nothing_for_any_component_stays_nothing():
    with Page() as page:
        gr.Button().click(lambda: None, None, [piece(""), gr.Textbox()])
    (fn,) = page.fns.values()
    assert "value" not in asyncio.run(page.postprocess_data(fn, gr.skip(), None))[0]


def test_what_a_component_begins_with_is_escaped_too():
    with gr.Blocks():
        assert piece(PAYLOAD).get_config()["value"] == html("{}", PAYLOAD)
        assert piece(html("<p>")).get_config()["value"] == "<p>"


def test_a_toast_shows_signs():
    assert toast(ValueError(PAYLOAD), "no").message == html("{}", PAYLOAD)
    assert toast(html("<b>"), "no").message == "<b>"
