"""The pages say what the program does: made parts, links, files, commands and options."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "assets" / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
LINES = 170
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_MADE = re.compile(r"<!-- made: .*?<!-- end -->", re.DOTALL)
_OURS = re.compile(r"`((?:dapa|assets|tests)/[\w./-]+)`")

_spec = importlib.util.spec_from_file_location("docs_make", DOCS / "make.py")
make = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def name(page):
    return page.relative_to(ROOT).as_posix()


def text(page):
    return page.read_text(encoding="utf-8")


def anchors(page):
    """The names that headings can be linked by, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", _FENCE.sub("", text(page)), re.MULTILINE):
        bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", bare).replace(" ", "-"))
    return found


def links():
    for page in PAGES:
        for target in _LINK.findall(_FENCE.sub("", text(page))):
            if "://" not in target:
                yield page, target


def calls():
    """(page, words) of every `python -m dapa ...` on a page, made parts left out."""
    for page in PAGES:
        whole = _MADE.sub("", text(page)).replace("\\\n", " ")
        for line in re.findall(r"python -m dapa ([^\n]*)", whole.replace("\\|", "|")):
            yield page, line
        for inline in re.findall(r"`python -m dapa ([^`]*)`", whole):
            yield page, inline


def words(line):
    """A command's words up to the end of its code, comments and prose left out."""
    told = line.partition("`")[0].partition("  # ")[0]
    return shlex.split(told)


@pytest.mark.parametrize("page", make.made_pages(), ids=name)
def test_a_made_page_is_what_the_program_says(page):
    assert text(page) == make.page_now(page), (
        f"{name(page)} is not what the program says of itself; run `python assets/docs/make.py` "
        "and commit the page"
    )


def test_commands_and_files_are_made_not_written():
    assert {page.name for page in make.made_pages()} >= {"commands.md", "house.md"}
    house, reference = text(DOCS / "house.md"), text(DOCS / "commands.md")
    for file in ROOT.glob("dapa/*/**/*.py"):
        if file.name != "__init__.py":
            assert f"(../../{file.relative_to(ROOT).as_posix()})" in house
    for command in make.commands():
        assert f"\n### {command}\n" in reference


def test_every_room_on_a_floor_of_the_page_stands_on_that_floor():
    house = text(DOCS / "house.md").partition("## The floors")[2]
    for number, rooms in zip(range(len(make.floors()), 0, -1), make.floors(), strict=True):
        (row,) = re.findall(rf"^\| {number} \| (.*) \|$", house, re.MULTILINE)
        found = set(re.findall(r"\(\.\./\.\./(?:dapa/)?(\w+)", row))
        assert found <= set(rooms)
        assert found


def test_the_readme_stays_short():
    count = len(text(README).splitlines())
    assert count <= LINES, f"README.md has {count} lines; move some to a page in assets/docs"


def test_every_page_is_linked_from_the_readme_or_from_a_page():
    reached = {(page.parent / target.partition("#")[0]).resolve() for page, target in links()}
    lost = [name(page) for page in PAGES if page not in reached and page != README]
    assert not lost, f"nothing links to {lost}"


def test_every_link_leads_somewhere():
    dead = []
    for page, target in links():
        path, mark, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            dead.append(f"{name(page)}: {target} does not exist")
        elif mark and anchor not in anchors(there):
            dead.append(f"{name(page)}: {target} is no heading there")
    assert not dead, "\n".join(dead)


def test_every_file_of_ours_that_is_named_exists():
    missing = {
        f"{name(page)}: {path}"
        for page in PAGES
        for path in _OURS.findall(text(page))
        if not (ROOT / path).exists()
    }
    assert not missing


def test_every_command_that_is_named_exists_with_its_options():
    known, wrong, seen = make.commands(), [], 0
    for page, line in calls():
        said = words(line)
        assert said, f"{name(page)}: python -m dapa names no command"
        command = " ".join(said[:2]) if " ".join(said[:2]) in known else said[0]
        if command not in known:
            wrong.append(f"{name(page)}: {command} is no command")
            continue
        seen += 1
        if command == "bench":
            continue  # its options are its own
        taken = {opt for one in known[command].params for opt in (*one.opts, *one.secondary_opts)}
        options = {word.partition("=")[0] for word in said if word.startswith("--")} - {"--help"}
        wrong += [f"{name(page)}: {command} takes no {opt}" for opt in sorted(options - taken)]
    assert seen > 30
    assert not wrong, "\n".join(wrong)


def test_an_option_that_many_commands_take_is_told_once_and_named_by_each():
    reference = make.command_reference()
    assert reference.count("| `--pair` |") == 1
    (search,) = re.findall(r"^### search$.*?^Shared: (.*?)$", reference, re.DOTALL | re.MULTILINE)
    assert "`--pair`" in search and "`--seed`" in search


def test_every_python_example_of_the_readme_imports_what_there_is():
    blocks = re.findall(r"^```python\n(.*?)^```$", text(README), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
        imports = [line for line in block.splitlines() if line.startswith(("import ", "from "))]
        exec("\n".join(imports), {})


def blocks(heading):
    """The Python of one section of the page on extending."""
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    part = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", part, re.S)


def test_the_metric_of_the_page_on_extending_is_a_metric():
    import torch
    from torch import Tensor

    made, kept = {}, {"torch": torch, "Tensor": Tensor}
    kept["metric"] = lambda name, title: lambda fn: made.setdefault(name, fn)
    exec(blocks("A divergence metric")[0], kept)
    a, nothing = torch.tensor([3.0, -4.0]), torch.zeros(2)
    assert made["l1"](a, 2 * a) == 1.0 and made["l1"](a, a) == 0.0
    assert made["l1"](nothing, nothing) == 0.0 and made["l1"](nothing, a).isnan()


def test_the_algorithm_of_the_page_on_extending_finds_a_certified_set():
    from dapa.core.records import Unit
    from dapa.search.algorithms import questions
    from dapa.search.algorithms.certificate import certified
    from dapa.search.engine.predicate import play

    kept = {**vars(questions), "certified": certified, "Unit": Unit, "Any": object}
    kept["algorithms"] = type("Table", (), {"add": lambda self, *_: lambda fn: fn})()
    exec(blocks("A search algorithm")[0], kept)
    units = tuple(map(Unit, range(8)))
    found, tests = play(kept["halves"], units, lambda on: {Unit(5), Unit(6)} <= on)
    assert found.one_minimal and set(found.units) >= {Unit(5), Unit(6)} and tests < 40
