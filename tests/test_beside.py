"""The commands beside a search, run as a user runs them, on planted folders."""

import json

import pytest

from dapa.bench.planted import harmful_prompts, harmless_prompts
from dapa.cli import main


@pytest.fixture(scope="module")
def asked(planted_folders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    files = {"harmful": harmful_prompts(20), "harmless": harmless_prompts(6)}
    for name, texts in files.items():
        (folder / f"{name}.txt").write_text("\n".join(texts))
    student, teacher = planted_folders
    return [
        "--student", str(student), "--teacher", str(teacher), "--max-new-tokens", "12",
        "--prompts", str(folder / "harmful.txt"), "--run-dir", str(folder / "runs"), "--json", "-",
    ], ["--harmless", str(folder / "harmless.txt")]  # fmt: skip


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0
    return json.loads(capsys.readouterr().out)


def test_baselines_with_shams(asked, capsys):
    body = run(capsys, "baselines", *asked[0], *asked[1])
    rows = {row["name"]: row for row in body["rows"]}
    assert rows["found"]["layers"] == [1, 2] and rows["found"]["held_out"]["value"] == 1.0
    assert rows["found"]["over_refusal"]["value"] == 0.0 and body["complete"]
    assert body["placebos"]["effects"] == []


def test_stability(asked, capsys):
    body = run(capsys, "stability", *asked[0], "--orders", "2", "--bootstraps", "2")
    assert body["sets"] == [{"units": ["1.gate", "2.gate"], "count": 4}]
    assert body["alternatives"] == [] and body["jaccard"] == 1.0


def test_necessity(asked, capsys):
    body = run(capsys, "necessity", *asked[0], "--controls", "1")
    assert body["necessary"] is True
