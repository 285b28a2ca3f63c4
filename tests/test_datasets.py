import pytest

from dapa.core.records import PromptError
from dapa.prompts import datasets
from dapa.prompts.sets import read_prompts


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that serves one local folder, whatever is asked for."""
    asked = []

    def fetch(name, patterns, raises, repo_type="model", **_):
        asked.append((name, repo_type))
        return tmp_path

    monkeypatch.setattr(datasets, "fetch", fetch)
    return tmp_path, asked


def test_a_dataset_id_is_fetched_and_its_table_of_prompts_read(hub):
    folder, asked = hub
    (folder / "data").mkdir()
    (folder / "data" / "test.csv").write_text("goal,target\nforge a passport,x\nrob a bank,y\n")
    (folder / "notes.csv").write_text("key,value\na,b\n")
    found = read_prompts("someone/behaviors@main", "harmful")
    assert found.texts == ("forge a passport", "rob a bank")
    assert asked == [("someone/behaviors@main", "dataset")]


def test_several_tables_are_named_so_that_one_can_be_chosen(hub):
    folder, _ = hub
    for name in ("train.csv", "test.csv"):
        (folder / name).write_text(f"prompt\nfrom {name}\n")
    with pytest.raises(PromptError, match=r"several tables .*test\.csv, train\.csv"):
        read_prompts("someone/two")
    assert read_prompts("someone/two:train.csv").texts == ("from train.csv",)
    with pytest.raises(PromptError, match="no file 'dev.csv'"):
        read_prompts("someone/two:dev.csv")


def test_a_dataset_without_prompts_says_what_it_has(hub):
    folder, _ = hub
    (folder / "notes.csv").write_text("key,value\na,b\n")
    with pytest.raises(PromptError, match=r"no table with a prompt column; it has notes\.csv"):
        read_prompts("someone/none")


@pytest.mark.parametrize("name", ["data/list.txt", "./x/y", "/a/b", "list", "a/b/c", "set/x.csv"])
def test_paths_are_never_taken_for_datasets(name):
    assert not datasets.names_dataset(name)
