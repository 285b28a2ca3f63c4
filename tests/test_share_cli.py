"""Export, apply and replay from the command line; CI's own command writes the toys' reports."""

import json
import os

import pytest
from test_cli import dapa, files  # noqa: F401 (fixtures)

from dapa.model.presets import presets


def found(dapa, files):  # noqa: F811
    code, out, err = dapa("search", *files["pair"], *files["prompts"], "--json", "-")
    assert code == 0, err
    return json.loads(out)["run"]


def test_a_found_set_goes_out_in_every_form_and_comes_back(dapa, files):  # noqa: F811
    run, pair = found(dapa, files), files["pair"]
    for form in ("model", "patch", "mergekit", "report", "bundle"):
        code, out, err = dapa("export", "--run", run, "--as", form, "--to", form, "--json", "-")
        assert code == 0, err
        told = json.loads(out)
        assert told["as"] == form and told["files"] and told["bytes"] > 100
    code, out, _ = dapa("apply", "patch", "--student", pair[1], "--to", "applied")
    assert code == 0 and "applied: " in out and "tensors changed" in out
    for name in sorted(os.listdir("model")):
        with open(f"model/{name}", "rb") as one, open(f"applied/{name}", "rb") as other:
            assert one.read() == other.read(), name
    code, out, err = dapa("replay", "bundle", *pair)
    assert code == 0 and f"Run {run} again: the same" in out, err
    code, out, err = dapa("evaluate", *pair, "--run", run, *files["prompts"], "--json", "-")
    table = json.loads(out)["run"]
    code, out, err = dapa("export", "--run", table, "--as", "bundle", "--to", "table")
    assert code == 0, err
    code, out, err = dapa("replay", "table", *pair, "--json", "-")
    assert code == 0 and json.loads(out)["compared"]["rows"] > 20, out + err
    code, _, err = dapa("export", "--run", table, "--to", "again", *pair)
    assert code == 0, err


def test_what_is_not_known_of_a_set_is_measured_for_its_report(dapa, files):  # noqa: F811
    run, pair = found(dapa, files), files["pair"]
    asked = ("export", "--run", run, "--as", "report", *pair)
    for name, more in (("plain", ()), ("fuller", ("--measure",)), ("again", ("--measure",))):
        code, _, err = dapa(*asked, "--to", name, *more)
        assert code == 0, err
    plain, fuller, again = (
        open(f"{name}/report.html", encoding="utf-8").read()  # noqa: SIM115
        for name in ("plain", "fuller", "again")
    )
    assert fuller == again, "what is known is not measured again"
    for title in ("Student, patched and teacher", "Where the two models part", "<h2>Replies</h2>"):
        assert title in fuller and title not in plain, title


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "--layers", "3"), "--to"),
        (("export", "--to", "x"), "say what to export"),
        (("export", "--layers", "3", "--to", "."), "not overwritten"),
        (("export", "--layers", "3", "--to", "x", "--as", "zip"), "zip"),
        (("export", "--layers", "3", "--to", "x", "--push", "me"), "no repository's name"),
        (("export", "--run", "no-such", "--to", "x", "--as", "report"), "no run"),
        (("apply", "nowhere", "--to", "x"), "--student"),
        (("apply", "nowhere", "--student", "x", "--to", "y"), "is no patch"),
        (("replay", "nowhere"), "is no bundle"),
    ],
)
def test_a_mistake_is_one_line(dapa, arguments, words):  # noqa: F811
    code, out, err = dapa(*arguments)
    assert code == 2 and words in err and len(err.splitlines()) == 1 and not out


@pytest.mark.slow
@pytest.mark.parametrize("name", [p.name for p in presets().values() if p.group == "bundled"])
def test_every_toy_has_a_report(name, dapa):  # noqa: F811
    kind = "gate" if name == "toy-gate" else "mlp"
    code, out, err = dapa(
        "search", "--pair", name, "--sites", kind, "--prompt-limit", "12", "--json", "-"
    )
    assert code == 0, err
    run = json.loads(out)["run"]
    code, _, err = dapa("export", "--run", run, "--as", "report", "--to", "report")
    assert code == 0, err
    text = open("report/report.html", encoding="utf-8").read()  # noqa: SIM115
    assert run in text and "What it cost" in text and name in text
