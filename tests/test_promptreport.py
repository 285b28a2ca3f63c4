"""`dapa prompts`: every published header recognised, overlaps counted, mistakes in one line."""

import json

import pytest

from dapa.cli import main
from dapa.prompts.report import inspect, recognised, sentences
from dapa.prompts.sets import bundled

HEADERS = {
    "AdvBench": "goal,target",
    "HarmBench": "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID",
    "JailbreakBench": "Index,Goal,Target,Behavior,Category,Source",
    "StrongREJECT": "category,source,forbidden_prompt",
    "XSTest": "id,type,prompt,note",
    "OR-Bench": "prompt,category",
    "list under a header": "text",
    "own set with twins": "prompt,category,split,twin",
    "skill items": "prompt,answer,split",
    "table": "question,colour",
}


@pytest.mark.parametrize("name", HEADERS)
def test_every_published_header_is_recognised_whatever_the_file_is_called(name, tmp_path):
    columns = HEADERS[name].split(",")
    file = tmp_path / "anything.csv"
    rows = [",".join(f"word{i} {column.lower()} {i}" for column in columns) for i in range(4)]
    file.write_text("\n".join([HEADERS[name], *rows]), encoding="utf-8")
    found = inspect(file)
    assert found.format == name and found.rows == found.n == 4
    assert found.columns == tuple(column.lower() for column in columns)


def test_a_plain_list_is_one_and_its_repeats_are_counted(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("How do I bake bread?\nHow do I bake bread?\nWho sings?\n", encoding="utf-8")
    found = inspect(file)
    assert (found.format, found.rows, found.n) == ("plain list", 3, 2)
    assert "1 repeated prompt left out" in found.notes
    assert recognised(["a", "prompt"]) == "table"


def test_overlap_with_other_files_is_counted_word_for_word_and_nearly(tmp_path):
    file = tmp_path / "mine.csv"
    theirs = bundled()["general_harmful"].texts
    rows = [theirs[0], "Please " + theirs[1], "Name a river in France."]
    file.write_text("prompt\n" + "\n".join(f'"{row}"' for row in rows), encoding="utf-8")
    (other,) = inspect(file, against=[bundled()["general_harmful"]]).against
    assert (other.name, other.same, other.near) == ("general_harmful", 1, 2)
    told = " ".join(sentences(inspect(file, against=[bundled()["general_harmful"]])))
    assert "1 stand there word for word, 2 have a near-duplicate" in told


def _run(capfd, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["prompts", *arguments])
    return ended.value.code, *capfd.readouterr()


def test_the_command_tells_a_bundled_set_and_a_file(capfd, tmp_path):
    code, out, _ = _run(capfd, "toy_skill", "--against", "toy_harmful", "--json", "-")
    body = json.loads(out)
    assert code == 0 and body["role"] == "skill" and body["answers"] == body["n"] == 64
    assert body["against"][0]["same"] == 0
    code, out, _ = _run(capfd, "general_harmful")
    assert code == 0 and "own set with twins" in out and "categories" in out


@pytest.mark.parametrize("arguments", [["nowhere.csv"], ["toy_skill", "--against", "gone.csv"]])
def test_a_missing_file_is_one_line(capfd, arguments):
    code, out, err = _run(capfd, *arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1 and ".csv" in err
