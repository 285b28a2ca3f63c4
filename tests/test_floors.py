"""Imports go down, heavy libraries stay in their rooms. Read from the source, nothing is run."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = """
app __main__
cli
ui
workbench
bench measure share
search
chat localize planted
figures model
judges writing
prompts store
core
"""
"""Top first. Two rooms on one floor do not know each other."""

INSIDE = {
    "search": ". | engine | settings | confidence | algorithms",
    "judges": ". | rules | base reply_parts",
    "model": "decode | .",
    "localize": ". | causes | divergence",
    "ui": "front | serve shield | page | tabs | measurements whatif | .",
    "ui.tabs": "presenter runs | search chat evaluate localize",
    "workbench": "bench | measurements . ",
    "cli": "app | .",
}
"""Inside a wing, top first; `.` is every file that is not named."""

DOORS = {"cli": ("dapa.bench.command", "dapa.ui.front")}
"""The benchmark and the dashboard have options and output of their own."""

ONLY_IN = {
    "gradio": ("app", "dapa.ui"),
    "plotly": ("dapa.figures",),
    "transformers": (
        *("dapa.model", "dapa.judges.classifier", "dapa.judges.causal"),
        *("dapa.share", "dapa.planted", "dapa.bench"),
    ),
    "typer": ("dapa.cli",),
    "openai": ("dapa.judges.endpoint_client",),
    "lm_eval": ("dapa.measure.lmtasks",),
    "ray": ("dapa.search.engine.workers.cluster",),
    "inspect_ai": ("dapa.share.inspectlogs",),
    "huggingface_hub": ("dapa.share", "dapa.prompts.hub"),
}

TORCH_FREE = ("core", "prompts", "store", "writing", "figures", "judges.base", "judges.rules")
TORCH_FREE += ("search.algorithms", "search.confidence")

BARE_GPU = {"torch", "transformers", "accelerate", "safetensors", "numpy", "pandas", "scipy"}
BARE_GPU |= {"tokenizers", "huggingface_hub", "psutil", "jinja2"}  # which those bring along
BARE_ROOMS = ("dapa.model", "dapa.search", "dapa.localize", "dapa.planted", "dapa.bench")

PRINTS = ("dapa.cli", "dapa.bench", "dapa.ui.front", "dapa.ui.serve")  # what a terminal is told


def module_of(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


FILES = {module_of(p): p for p in (ROOT / "app.py", *ROOT.glob("dapa/**/*.py")) if p.is_file()}


@cache
def tree(module):
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def nodes(module, late, typed=False):
    """The statements that run at import; with `late`, those inside of functions too."""
    left = list(tree(module).body)
    while left:
        node = left.pop()
        if not typed and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            left += node.orelse
            continue
        yield node
        if late or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            left += ast.iter_child_nodes(node)


@cache
def imports(module, late=False, typed=False):
    """Modules that this one imports, by their full names, our own and others'."""
    found = set()
    for node in nodes(module, late, typed):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in whole}
    return found


@cache
def reached(module, packages=True, typed=False):
    """Everything that importing this module imports; with the packages above, which run too."""
    seen, left = set(), [module]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in FILES:
            left += imports(name, typed=typed)
            left += [name.rpartition(".")[0]] if packages and "." in name else []
    return seen


def within(module, rooms):
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def room(module):
    return module.removeprefix("dapa.").partition(".")[0]


def test_imports_go_down():
    height = {}
    for floor, rooms in enumerate(FLOORS.split("\n")):
        height.update(dict.fromkeys(rooms.split(), -floor))
    homeless = {room(module) for module in FILES} - height.keys() - {"dapa"}
    assert not homeless, f"give these a floor: {homeless}"
    upward = [
        f"{module} imports {name}"
        for module in FILES
        for name in imports(module, late=True)
        if name in FILES and room(name) not in (room(module), "dapa")
        if module != "dapa"  # which hands on names when they are asked for
        if height.get(room(module), 0) <= height[room(name)]
    ]
    assert not upward


def test_inside_a_wing_too_a_later_room_imports_an_earlier_one():
    for wing, floors in INSIDE.items():
        order = [rooms.split() for rooms in floors.split("|")]

        def floor(module, wing=wing, order=order):
            inner = module.removeprefix(f"dapa.{wing}").strip(".").partition(".")[0] or "."
            found = [i for i, rooms in enumerate(order) if inner in rooms]
            return found[0] if found else [i for i, rooms in enumerate(order) if "." in rooms][0]

        inside = [m for m in FILES if m.startswith(f"dapa.{wing}.")]
        for module in inside:
            for name in imports(module, late=True) & set(inside):
                assert floor(name) >= floor(module), f"{module} imports {name}, which lies above"


def test_nothing_lies_loose_on_the_top_floor_of_the_package():
    loose = {m.rpartition(".")[2] for m, p in FILES.items() if p.parent == ROOT / "dapa"}
    assert loose <= {"dapa", "__main__"}, loose


def test_screen_and_command_line_reach_the_workbench_and_the_ground_alone():
    below = ("dapa.core", "dapa.figures", "dapa.writing", "dapa.workbench.measurements")
    for wing in ("ui", "cli"):
        for module in [m for m in FILES if within(m, [f"dapa.{wing}"])]:
            ours = {name for name in imports(module, late=True) if within(name, ["dapa"])}
            past = {
                name
                for name in ours - {"dapa", "dapa.workbench"}
                if not within(name, (f"dapa.{wing}", *below, *DOORS.get(wing, ())))
            }
            assert not past, f"{module} goes past the workbench: {past}"


def test_the_benchmark_is_known_to_the_command_line_only():
    users = {m for m in FILES if any(within(n, ["dapa.bench"]) for n in imports(m, late=True))}
    assert all(within(user, ["dapa.bench", "dapa.cli"]) for user in users), users


def test_no_file_imports_in_circles_not_even_for_its_types():
    for module in FILES:
        for name in imports(module, typed=True):
            if name in FILES and name != module and not module.startswith(f"{name}."):
                assert module not in reached(name, packages=False, typed=True), (
                    f"{module} and {name} import each other"
                )


def test_no_public_call_takes_more_than_eight_parameters():
    for module in FILES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef) and (
                not node.name.startswith("_") or node.name == "__init__"
            ):
                given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                names = [one.arg for one in given if one.arg not in ("self", "cls")]
                assert len(names) <= 8, f"{module}.{node.name} takes {len(names)}: {names}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_in_its_rooms(library):
    users = {m for m in FILES if library in {n.partition(".")[0] for n in imports(m, late=True)}}
    assert users or library != "transformers"
    assert all(within(user, ONLY_IN[library]) for user in users), users


@pytest.mark.parametrize("light", TORCH_FREE)
def test_a_light_room_imports_without_torch(light):
    modules = [m for m in FILES if within(m, [f"dapa.{light}"])]
    assert modules
    for module in modules:
        heavy = {name.partition(".")[0] for name in reached(module)}
        assert not heavy & {"torch", "transformers", "gradio"}, module


@pytest.mark.parametrize("rooms", BARE_ROOMS)
def test_the_core_imports_on_a_bare_gpu_machine(rooms):
    import sys

    for module in [m for m in FILES if within(m, [rooms])]:
        others = {n.partition(".")[0] for n in reached(module)} - {"dapa", "__future__"}
        assert others <= BARE_GPU | set(sys.stdlib_module_names), f"{module}: {others}"


def test_nothing_prints_outside_of_the_command_line_and_bench():
    for module in FILES:
        if not within(module, PRINTS):
            calls = (n for n in ast.walk(tree(module)) if isinstance(n, ast.Call))
            names = {c.func.id for c in calls if isinstance(c.func, ast.Name)}
            assert "print" not in names, f"{module} prints"


def test_no_except_is_bare_and_none_swallows_everything_silently():
    for module in FILES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ExceptHandler):
                where = f"{module}:{node.lineno}"
                assert node.type is not None, f"{where}: a bare except"
                silent = all(isinstance(n, ast.Pass | ast.Continue) for n in node.body)
                caught = ast.unparse(node.type)
                assert not (silent and caught in ("Exception", "BaseException")), where
