"""Heads, blocks, ranks and blends on the command line and on the screen."""

import json

import pytest
from test_planted_heads import BOTH, HEADS, SHAPE, heads_pair
from test_ui import Shape

from dapa.cli import main
from dapa.core.masks import parse_units
from dapa.core.records import EMPTY, Mask, SettingError, Unit
from dapa.figures.whatif import what_if_strip
from dapa.localize.causes.flips import WhatIf, WhatIfs
from dapa.planted.pairs import harmful_prompts, plant
from dapa.search.settings import SearchSettings
from dapa.search.setup import searched_units
from dapa.ui import strip
from dapa.ui.replay import cells
from dapa.ui.session import apply, fresh, state
from dapa.writing.sentences import moved_sentence
from dapa.writing.unit_names import kind_told, unit_name, units_text


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The pair with planted heads, and its prompts, as files."""
    folder = tmp_path_factory.mktemp("heads")
    student, teacher = plant(HEADS, shape=SHAPE).save(folder)
    (folder / "harmful.txt").write_text("\n".join(harmful_prompts(16)), encoding="utf-8")
    return folder, ["--student", str(student), "--teacher", str(teacher), "--dtype", "float32"]


@pytest.fixture
def dapa(folders, capfd, monkeypatch):
    """Run a command there: (exit code, stdout, stderr)."""
    folder, models = folders
    monkeypatch.chdir(folder)

    def run(command, *arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), *models, *arguments])
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


PLANTED = "1.head[1],3.head[2]"


def test_units_by_name_make_a_reply_refuse(dapa):
    asked = ("--prompt", harmful_prompts(1)[0], "--json", "-", "--max-new-tokens", "8")
    for units, label in ((PLANTED, "refusal"), ("1.head[1],3.head[1]", "compliance")):
        code, out, _ = dapa("generate", "--units", units, *asked)
        assert code == 0 and json.loads(out)["patched"]["verdict"] == label, units
    code, out, _ = dapa("generate", "--units", f"{PLANTED},2.up~3,2.gate~3@0.5", *asked)
    told = json.loads(out)["moves"]
    assert code == 0 and 0 < told["energy"] < 1 and told["bytes"] == 4 * told["parameters"]
    code, out, err = dapa("generate", "--units", "1.head[4]", *asked)
    assert code == 2 and err.count("\n") == 1 and "1.head[0] to 1.head[3]" in err


def test_chat_and_evaluate_take_the_same_names(dapa):
    prompt = harmful_prompts(1)[0]
    code, out, _ = dapa("chat", "--units", PLANTED, "--prompt", prompt, "--json", "-")
    assert code == 0 and PLANTED in out
    options = ("--prompts", "harmful.txt", "--max-new-tokens", "8", "--wraps", "none")
    options += ("--text", "none", "--no-kl", "--json", "-")
    code, out, err = dapa("evaluate", *options, "--units", PLANTED, "--mask", "one=1.head[1]")
    models = json.loads(out)["models"]
    assert code == 0, err
    assert models["patched"]["dsr"]["value"] == 1.0 and models["one"]["dsr"]["value"] == 0.0


def test_a_search_over_heads_from_the_command_line(dapa):
    options = ("--prompts", "harmful.txt", "--max-new-tokens", "8", "--json", "-")
    code, out, err = dapa("search", "--sites", "heads", *options)
    body = json.loads(out)
    assert code == 0 and body["units"] == PLANTED.split(","), err
    code, _, err = dapa("search", "--sites", "heads", "--rank", "2", *options)
    assert code == 2 and "no heads has a rank above 2" in err
    code, _, err = dapa("search", "--rank", "2", "--blocks", "4", *options)
    assert code == 2 and "give one of the two" in err


def test_what_a_search_may_move_is_as_fine_as_it_was_asked_for():
    pair = heads_pair(BOTH)

    def names(**given):
        return [str(u) for u in searched_units(pair, *SearchSettings(**given).cut)]

    assert names(kind="heads,kv")[:6] == [
        "1.head[0]", "1.head[1]", "1.head[2]", "1.head[3]", "1.kv[0]", "2.head[0]",
    ]  # fmt: skip
    deep = names(kind="layer", algorithm="hierarchical", blocks=2)
    assert "1.gate[0:16]" in deep and "1.head[0]" in deep and "1.q" not in deep
    assert names(kind="attention", algorithm="hierarchical", rank=4)[0] == "1.q~4"
    assert names(kind="gate", rank=4)[0] == "0.gate~4"
    assert names(kind="q", algorithm="hierarchical")[0] == "1.q"  # o was not asked for
    assert names(kind="gate", rank=31)[0] == "0.gate~31" and pair.sites
    with pytest.raises(SettingError, match="rank above 32"):
        names(kind="gate", rank=32)


class Fine(Shape):
    """The same four layers with attention."""

    differs = {**Shape.differs, **dict.fromkeys(("q", "o", "k", "v", "attention"), [0, 1, 2, 3]),
               "heads": [0, 1, 2, 3], "kv": [0, 1, 2, 3]}  # fmt: skip

    def validate(self, mask):
        if any(unit.layer > 3 for unit in mask.units):
            raise SettingError("no such layer")


def steer(session, **data):
    return apply(session, Fine(), data)


def test_units_are_typed_into_the_strip_each_with_a_strength():
    here = steer(fresh(0, Fine()), op="units", text="3.head[7]@0.5, 2.gate~8,1.mlp[0:2]")
    assert here.mask == parse_units("3.head[7]@0.5,2.gate~8,1.mlp[0:2]")
    assert steer(here, op="strength", value=0.5).mask.strength(Unit(3, "heads", (7, 8))) == 0.25
    assert steer(here, op="undo").mask == EMPTY and steer(here, op="units", text="").mask == EMPTY
    for bad in ("3.nose[", "9.gate", "3.gate@2"):
        with pytest.raises(SettingError):
            steer(here, op="units", text=bad)


def test_parts_stay_when_another_kind_of_their_layer_is_pressed_and_go_with_their_own():
    here = steer(fresh(0, Fine()), op="units", text="3.head[7]@0.5,3.up[0:4],2.gate@0.3")
    more = steer(here, op="toggle", layers=[3], kind="gate", on=True)
    assert more.mask == parse_units("3.head[7]@0.5,3.up[0:4],2.gate@0.3,3.gate")
    whole = steer(more, op="toggle", layers=[3], kind="attention", on=True)
    assert set(whole.mask.units) == {*parse_units("3.up[0:4],2.gate,3.gate,3.attention").units}
    off = steer(more, op="toggle", layers=[3], kind="attention", on=False)
    assert off.mask == parse_units("3.up[0:4],2.gate@0.3,3.gate")
    assert state(Fine(), more.chosen, 3, "q") == "part" == state(Fine(), more.chosen, 2, "gate")
    assert state(Fine(), more.chosen, 3, "k") == "none"


def test_heads_are_no_cells_but_are_named_where_a_cell_is_only_part():
    here = steer(fresh(0, Fine()), op="units", text="3.head[7]@0.5")
    here = steer(here, op="open")
    html = strip.render(Fine(), here, "0.1 %", "64 bytes")
    assert 'data-value="3.head[7]@0.5"' in html and "data-units" in html
    assert "layer 3: partly transplanted (3.head[7]@0.5)" in html
    assert 'data-kind="heads"' not in html and '<option value="heads"' not in html
    for data in ({"op": "kind", "kind": "heads"}, {"op": "toggle", "layers": [1], "kind": "kv"}):
        with pytest.raises(SettingError, match="not a kind of site"):
            steer(here, **data)
    many = steer(here, op="units", text=",".join(f"3.head[{i}]" for i in range(9)))
    assert "3.head[5] and 3 more)" in strip.render(Fine(), many, "", "")
    evil = steer(here, op="units", text="")
    assert 'value=""' in strip.render(Fine(), evil, "", "")


def test_a_replay_tells_heads_from_shared_heads_of_one_fused_matrix():
    columns = (Unit(1, "heads", (0, 1)), Unit(1, "heads", (1, 2)), Unit(1, "kv", (0, 1)))
    assert cells(Mask.of([columns[1]]), columns) == ((1, 1), ())
    assert cells(Mask.of([Unit(1, "heads", (0, 2))]), columns) == ((), (0, 2))
    assert cells(Mask.of([Unit(1, "q")]), columns) == ((), (0, 2))
    assert cells(Mask.of([Unit(1, "gate", None, 8)]), (Unit(1, "gate"),)) == ((), (0, 1))


def test_sentences_name_parts_and_their_size():
    heads = parse_units(PLANTED).units
    assert kind_told(heads, "heads") == "heads" and kind_told(heads, "attention") == "block"
    assert units_text(heads) == "1.head[1], 3.head[2]" and unit_name(heads[0]) == "1.head[1]"
    assert unit_name(Unit(3, "gate", None, 8)) == "3.gate~8"
    pair = heads_pair()
    ranked = pair.share(parse_units("0.gate~4"))
    energy = f"{100 * ranked.energy:.1f}"
    assert f"its ranks keep {energy}" in moved_sentence(ranked)
    assert "ranks" not in moved_sentence(pair.share(parse_units(PLANTED)))


def test_what_if_of_heads_has_a_row_a_head():
    units = [Unit(layer, "heads", (i, i + 1)) for layer in (1, 3) for i in range(2)]
    told = tuple(WhatIf(unit, True, i / 4, 0.5, 0.5) for i, unit in enumerate(units))
    heat = what_if_strip(WhatIfs(EMPTY, 0.0, 0.0, told, "a pair", 4), 4).data[0]
    shown = dict(zip(heat.y, heat.z, strict=True))  # bottom first
    assert [shown[f"head[{row}]"][layer] for layer in (1, 3) for row in (0, 1)] == [
        0,
        0.25,
        0.5,
        0.75,
    ]
