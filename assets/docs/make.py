"""Write the parts of these pages that are read off the program, so that they do not rot.

    python assets/docs/make.py            # rewrites them in place
    python assets/docs/make.py --check    # names the pages that are out of date, exit code 1

A made part stands between `<!-- made: NAME -->` and `<!-- end -->`; NAME is a function of `MADE`.
Everything else on a page is written by hand and left alone. No model is loaded.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHARED = 4
"""An option that so many commands take, with the same words, is explained once."""
_PART = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_KINDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "Path": "folder or file",
    "list": "text, may repeat",
}


def made_pages() -> list[Path]:
    """The pages that have a made part."""
    return [p for p in sorted(HERE.glob("*.md")) if _PART.search(p.read_text(encoding="utf-8"))]


def page_now(page: Path) -> str:
    """A page's text as it should be now."""
    text = page.read_text(encoding="utf-8")
    return _PART.sub(lambda part: f"{part[1]}\n{MADE[part[2]]()}\n\n{part[3]}", text)


def main(given: list[str]) -> int:
    """Rewrite, or with `--check` only compare; the exit code."""
    stale = 0
    for page in made_pages():
        text = page_now(page)
        if page.read_text(encoding="utf-8") != text:
            stale += 1
            print(page.relative_to(ROOT))
            if "--check" not in given:
                page.write_text(text, encoding="utf-8")
    return 1 if stale and "--check" in given else 0


# -- the rooms, from the source ------------------------------------------------------------------


def about(path: Path) -> str:
    """The first line of a module's docstring."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert told, f"{path} has no docstring; its first line is its line in house.md"
    return told.splitlines()[0].strip()


def floors() -> list[list[str]]:
    """The rooms of each floor, top first, as tests/test_floors.py asserts them."""
    source = (ROOT / "tests" / "test_floors.py").read_text(encoding="utf-8")
    table = next(
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    )
    return [line.split() for line in ast.literal_eval(table).strip().splitlines()]


def _home(room: str) -> Path | None:
    """A room's folder or file; None for one that is planned and not yet built."""
    places = (ROOT / f"{room}.py", ROOT / "dapa" / f"{room}.py", ROOT / "dapa" / room)
    return next((place for place in places if place.exists()), None)


def floor_table() -> str:
    """A line a floor: what stands on it."""
    rows = []
    for number, rooms in zip(range(len(floors()), 0, -1), floors(), strict=True):
        built = [(room, home) for room in rooms if (home := _home(room))]
        told = [f"{_link(home)} {about(_front(home)).rstrip('.')}" for _, home in built]
        rows.append((str(number), "<br>".join(told)))
    return _table(("floor", "rooms"), rows)


def room_lists() -> str:
    """A section a room, a line a file."""
    parts = []
    for rooms in floors():
        for home in filter(None, map(_home, rooms)):
            if home.is_file():
                continue
            parts.append(f"### {home.name}\n\n{about(_front(home))}")
            rows = []
            for package in sorted({file.parent for file in home.rglob("*.py")}):
                if package != home:
                    rows.append((f"**{_link(package)}**", about(_front(package))))
                own = [p for p in sorted(package.glob("*.py")) if not p.name.startswith("__init__")]
                rows += [(_link(file, file.name), about(file)) for file in own]
            parts.append(_table(("file", "what it says of itself"), rows))
    return "\n\n".join(parts)


def _front(place: Path) -> Path:
    return place if place.is_file() else place / "__init__.py"


def _link(place: Path, title: str = "") -> str:
    shown = place.relative_to(ROOT).as_posix()
    name = title or (shown if place.is_file() else f"{shown}/")
    return f"[`{name}`](../../{shown})"


# -- the commands, from their own help -------------------------------------------------------------


@dataclass(frozen=True)
class Option:
    """One option or argument as a page shows it."""

    name: str
    value: str
    default: str
    told: str

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Its line in a table."""
        return (f"`{self.name}`", self.value, self.default, self.told)


def command_line() -> Any:
    """The command line's root; importing it loads neither torch nor a model."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from typer.main import get_command

    from dapa.cli.app import app

    return get_command(app)


def commands(root: Any = None, prefix: str = "") -> dict[str, Any]:
    """Name -> command, those of groups as `runs list`; a group stands before its own."""
    found: dict[str, Any] = {}
    for name, command in (root or command_line()).commands.items():
        if not command.hidden:
            found[f"{prefix}{name}"] = command
            if hasattr(command, "commands"):
                found |= commands(command, f"{prefix}{name} ")
    return found


def options_of(command: Any) -> list[Option]:
    """What a command takes, in the order of its help; hidden options and `--help` left out."""
    return [
        _option(one)
        for one in command.params
        if not getattr(one, "hidden", False) and one.name != "help"
    ]


def _option(one: Any) -> Option:
    argument = one.param_type_name == "argument"
    name = str(one.metavar or one.name) if argument else ", ".join([*one.opts, *one.secondary_opts])
    kind = getattr(one.type_descriptor.annotation, "__name__", "text")
    value = (
        "" if kind == "bool" else str(one.metavar or _KINDS.get(kind, kind)).replace("|", " or ")
    )
    default = one.default
    if default is None or default is False or default == "" or default == ():
        shown = "needed" if one.required else ""
    else:
        shown = "on" if default is True else f"`{default}`"
    return Option(name, "" if argument else value, shown, one.help or "")


def command_reference() -> str:
    """Options that many commands share, then a section a command."""
    taken = {name: options_of(command) for name, command in commands().items()}
    count: dict[tuple[str, str], int] = {}
    for option in (o for options in taken.values() for o in options):
        key = (option.name, option.told)
        count[key] = count.get(key, 0) + 1
    shared = {key for key, times in count.items() if times >= SHARED and key[0].startswith("-")}
    explained: dict[tuple[str, str], set[Option]] = {key: set() for key in sorted(shared)}
    for option in (o for options in taken.values() for o in options):
        if (option.name, option.told) in shared:
            explained[(option.name, option.told)].add(option)
    rows = []
    for (name, told), forms in explained.items():
        defaults = {form.default for form in forms}
        default = defaults.pop() if len(defaults) == 1 else "by command"
        rows.append((f"`{name}`", min(form.value for form in forms), default, told))
    head = ("option", "value", "default", "what it means")
    parts = ["### Options that many commands share", _table(head, rows)]
    for name, command in commands().items():
        parts += [f"### {name}", _told(command.help or "")]
        own = [o for o in taken[name] if (o.name, o.told) not in shared]
        common = [o for o in taken[name] if (o.name, o.told) in shared]
        if own:
            parts.append(_table(head, [option.row for option in own]))
        if common:
            mixed = [
                f"`{o.name}`"
                + (f" ({o.default})" if o.default and _differs(explained[(o.name, o.told)]) else "")
                for o in common
            ]
            parts.append(f"Shared: {', '.join(mixed)}.")
        if name == "bench":
            parts.append(_argparse("-m", "dapa.bench"))
    return "\n\n".join(parts)


def _differs(forms: Iterable[Option]) -> bool:
    return len({form.default for form in forms}) > 1


def _told(text: str) -> str:
    """A help text as paragraphs, whatever its line breaks."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def family_table() -> str:
    """A line a family and variant: its units, what is odd about it, how it is tried."""
    for place in (ROOT, ROOT / "tests"):
        if str(place) not in sys.path:
            sys.path.insert(0, str(place))
    from zoo import ZOO

    from dapa.model.architectures import FAMILIES

    rows = []
    for tried in ZOO.values():
        family = FAMILIES[tried.model_type]
        title = f"{family.title}, {tried.variant}" if tried.variant else family.title
        kinds = dict.fromkeys(family.single)
        units = ", ".join(kind for kind in kinds if kind not in ("embeddings", "head"))
        how = ["random", *(["window"] if tried.slides else [])]
        how += [] if tried.variant else ["planted"]
        rows.append((title, f"`{tried.model_type}`", units, tried.odd, ", ".join(how)))
    return _table(
        ("family", "model_type", "sites, besides embeddings and head", "has", "tried"), rows
    )


def program_options() -> str:
    """What `python app.py` takes."""
    return _argparse("app.py")


def _argparse(*program: str) -> str:
    """A program's own help from its options on, as a block of code."""
    run = subprocess.run(
        [sys.executable, *program, "--help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = run.stdout.partition("options:\n")[2].rstrip()
    assert told, f"{' '.join(program)} --help tells no options"
    return f"```text\n{told}\n```"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), line("---" for _ in head), *map(line, rows)])


MADE: Mapping[str, Callable[[], str]] = {
    "floors": floor_table,
    "rooms": room_lists,
    "commands": command_reference,
    "program": program_options,
    "families": family_table,
}
"""Name of a made part -> what it says now."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
