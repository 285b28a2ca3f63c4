"""Prompt files of every kind, splits without leaks, and what people get wrong."""

import json
import random
import time
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapa.core.assets import asset
from dapa.core.records import Prompt, PromptError, SettingError
from dapa.prompts.sets import (
    PromptSet,
    bundled,
    content_words,
    near_duplicates,
    neutralise,
    one_prompt,
    overlap,
    read_prompts,
)


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


HEADERS = {  # the table of published sets
    "AdvBench": ("goal,target", "ask one,Sure"),
    "HarmBench": (
        "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID",
        "ask one,standard,chemical,,,id_1",
    ),
    "JBB": (",Goal,Target,Behavior,Category,Source", "0,ask one,Sure,Defamation,Harass,Original"),
    "StrongREJECT": ("category,source,forbidden_prompt", "Fraud,custom,ask one"),
    "XSTest": ("id,type,prompt,note", "1,homonyms,ask one,x"),
    "OR-Bench": ("prompt,category", "ask one,violence"),
    "DAPA": ("text", "ask one"),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_every_published_set_is_known_by_its_header(name, ending, file):
    header, row = HEADERS[name]
    if ending == ".tsv":
        header, row = header.replace(",", "\t"), row.replace(",", "\t")
    found = read_prompts(file("x" + ending, f"{header}\n{row}\n"), "harmless")
    assert found.texts == ("ask one",)
    assert "" not in found.prompts[0].extra


def test_categories_splits_twins_and_answers_are_read_and_the_rest_is_kept(file):
    path = file("a.csv", "prompt,category,split,twin,answer,Note\na,c,test,b,d,e\nf,c,odd,,,\n")
    first, second = read_prompts(path).prompts
    assert first == Prompt("a", "c", "held_out", "b", "d")
    assert first.extra == {"note": "e"} and second.split == ""


def test_xstest_gives_each_role_its_own_rows(file):
    path = file("xs.csv", "id,type,prompt\n1,homonyms,kill a process\n2,contrast_homonyms,kill\n")
    assert read_prompts(path, "harmless").texts == ("kill a process",)
    assert read_prompts(path, "harmful").texts == ("kill",)
    assert "both roles" in read_prompts(path).notes[0]


def test_json_lines_json_parquet_and_text_read_alike(tmp_path, file):
    rows = [{"Prompt": "one", "category": "a"}, {"Prompt": "two", "category": "b"}]
    frame = tmp_path / "a.parquet"
    pd.DataFrame(rows).to_parquet(frame)
    lines = file("a.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    listed = file("a.json", json.dumps(rows))
    plain = file("a.txt", "one\r\n\ntwo\r\n")
    for path in (frame, lines, listed, plain, file("b.jsonl", '"one"\n"two"')):
        assert read_prompts(path).texts == ("one", "two"), path
    assert read_prompts(frame).categories == ("a", "b")


def test_byte_order_marks_utf16_and_embedded_newlines_are_no_trouble(file):
    body = 'text\n"one,\ntwo"\nthree\n'
    for name, raw in {
        "bom.csv": body.encode("utf-8-sig"),
        "u16.csv": body.encode("utf-16"),
        "le.csv": body.encode("utf-16-le"),
        "be.csv": body.encode("utf-16-be"),
        "crlf.csv": body.replace("\n", "\r\n").encode(),
    }.items():
        found = read_prompts(file(name, raw))
        assert [t.replace("\r", "") for t in found.texts] == ["one,\ntwo", "three"], name


def test_semicolons_and_unquoted_commas_of_a_lone_column_are_read_as_meant(file):
    assert read_prompts(file("a.csv", "prompt;category\nx, y;c\n")).texts == ("x, y",)
    assert read_prompts(file("b.csv", "text\nfirst, then second\n")).texts == (
        "first, then second",
    )
    assert read_prompts(file("c.csv", "text,category\nshort\n")).prompts[0].category == ""


def test_blank_and_repeated_prompts_are_left_out_and_counted(file):
    found = read_prompts(file("a.csv", 'text,id\na,1\n" ",2\na,3\n\n a ,4\n'))
    assert found.texts == ("a",)
    assert found.notes == ("1 blank prompt left out", "2 repeated prompts left out")


BAD = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n \n", "blank"),
    "header.csv": (b"prompt,category\n", "no prompts below its header"),
    "cells.csv": (b"prompt,category\n,a\n ,b\n", "every 'prompt' cell is blank"),
    "nocolumn.csv": (b"name,value\na,b\n", r"no prompt column \(seen: name, value\)"),
    "ragged.csv": (b"prompt,category\na,b\nc,d,e\n", "line 3: 3 cells under a header of 2"),
    "nul.csv": (b"prompt\na\0b\n", "NUL character in 'a"),
    "quote.csv": (b'prompt\n"' + b"x" * 200_000, "field larger than field limit"),
    "latin.csv": ("prompt\nh\u00e4\n".encode("latin-1"), "not UTF-8 text .byte 0xe4"),
    "binary.csv": (bytes(range(32)) * 40, "binary|UTF"),
    "sheet.xlsx": (b"PK\x03\x04", "save the sheet as CSV"),
    "what.pdf": (b"%PDF", "extension '.pdf' is none of"),
    "noend": (b"a", "extension '.none.'"),
    "odd.jsonl": (b'{"prompt": "a"}\n{"prompt": ', "line 2: .* is not JSON"),
    "list.jsonl": (b"[1]\n", "neither an object nor a string"),
    "nest.jsonl": (b'{"prompt": ["a"]}\n', "is not text"),
    "surrogate.jsonl": (b'{"prompt": "a\\ud800"}\n', "lone surrogate U.D800"),
    "deep.json": (b"[" * 100_000, "cannot be read|not JSON"),
    "object.json": (b'{"a": 1}', "no JSON list"),
    "fake.parquet": (b"PAR1 no", "no parquet file"),
    "long.txt": (b"x" * 200_000, "shorten the prompt"),
    "many.txt": (b"a\n" * 1_000_000, "over 100,000 rows"),
    "many.csv": (b"prompt\n" + b"a\n" * 1_000_000, "over 100,000 rows"),
    "huge.txt": (b"a" * 50_000_001, "MB, over 50"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_in_one_line_within_a_second(name, file):
    content, message = BAD[name]
    path = file(name, content)
    start = time.process_time()
    with pytest.raises(PromptError, match=message) as caught:
        read_prompts(path)
    assert time.process_time() - start < 1.0
    told = str(caught.value)
    assert "\n" not in told and len(told) < 500 and (";" in told)


def test_missing_files_folders_and_roles_are_told(tmp_path):
    with pytest.raises(PromptError, match="no prompt file"):
        read_prompts(tmp_path / "none.csv")
    with pytest.raises(PromptError, match="is a folder"):
        read_prompts(tmp_path)
    for name in ("a\0b.csv", "x" * 5000 + ".csv"):
        with pytest.raises(PromptError, match="no file name|no prompt file"):
            read_prompts(name)
    with pytest.raises(PromptError, match="role 'evil'"):
        read_prompts(tmp_path / "none.csv", "evil")


@pytest.mark.parametrize("part", range(5))
def test_500_fuzzed_files_give_a_parse_or_a_named_error_within_a_second(part, file, tmp_path):
    chance = random.Random(part)
    frame = tmp_path / "seed.parquet"
    pd.DataFrame({"prompt": ["a", "b"], "category": ["x", "y"]}).to_parquet(frame)
    bases = [
        ("csv", b'prompt,category\n"a, b",c\nd,e\n'),
        ("tsv", b"goal\ttarget\na\tb\n"),
        ("jsonl", b'{"prompt": "a", "split": "test"}\n{"prompt": "b"}\n'),
        ("json", b'[{"text": "a"}, "b"]'),
        ("txt", "one\ntwo \u00e9\n".encode()),
        ("parquet", frame.read_bytes()),
        ("csv", "text\nx\n".encode("utf-16")),
    ]
    for number in range(100):
        ending, raw = chance.choice(bases)
        data = bytearray(raw)
        for _ in range(chance.randint(1, 12)):
            at = chance.randrange(len(data) + 1)
            what = chance.random()
            if what < 0.4 and at < len(data):
                data[at] = chance.randrange(256)
            elif what < 0.6:
                data[at:at] = bytes(chance.choice([b'"', b",", b"\n", b"\0", b"\xff", b"\\ud800"]))
            elif what < 0.8:
                del data[at : at + chance.randint(1, 6)]
            else:
                data += data[: chance.randint(0, 40)]
        path = file(f"{number}.{ending}", bytes(data))
        start = time.process_time()
        try:
            found = read_prompts(path)
            assert found.prompts and all(p.text.strip() for p in found.prompts)
            found.split()
        except PromptError as error:
            assert "\n" not in str(error) or ending == "jsonl"
        assert time.process_time() - start < 1.0


NAMES = ("alpha", "beta", "gamma", "delta", "eps", "zeta", "eta", "theta")
words = st.lists(st.sampled_from(NAMES), max_size=6)
texts = st.lists(words.map(" ".join), min_size=1, max_size=30)


@given(texts)
def test_clusters_join_exactly_the_pairs_at_half_jaccard_or_more(listed):
    clusters = near_duplicates(listed)
    sets = [content_words(text) for text in listed]
    joined = {i: {i} for i in range(len(listed))}
    for i, a in enumerate(sets):  # brute force transitive closure
        for j, b in enumerate(sets[:i]):
            if len(a & b) >= 0.5 * len(a | b):
                merged = joined[i] | joined[j]
                for k in merged:
                    joined[k] = merged
    for i in range(len(listed)):
        assert {j for j, c in enumerate(clusters) if c == clusters[i]} == joined[i]


@settings(max_examples=60)
@given(texts, st.integers(0, 5))
def test_a_split_loses_nothing_repeats_itself_and_keeps_near_duplicates_together(listed, seed):
    found = PromptSet("x", "harmful", tuple(Prompt(t) for t in dict.fromkeys(listed)))
    split = found.split(seed)
    assert sorted(p.text for p in split.search + split.held_out) == sorted(found.texts)
    assert split == found.split(seed)
    if "kept together" in split.note and "plain" not in split.note:
        assert split.overlap == 0


def test_one_great_cluster_gives_a_plain_split_that_says_so():
    found = PromptSet("x", "harmful", tuple(Prompt(f"poison the old well {i}") for i in range(10)))
    split = found.split(1)
    assert len(split.held_out) == 5 and split.overlap == 5
    assert "plain" in split.note and "10 of 10" in split.note


def test_the_sets_own_split_wins():
    listed = (Prompt("a", split="search"), Prompt("b", split="held_out"), Prompt("c"))
    split = PromptSet("x", "harmful", listed).split(3)
    assert [p.text for p in split.search] == ["a", "c"]
    assert [p.text for p in split.held_out] == ["b"]


def test_overlap_counts_across_files():
    assert overlap(["Poison the well!", "sing a song"], ["poison a well", "poison the well"]) == 1
    assert overlap([], ["a"]) == 0


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(1, 60))
def test_a_sample_keeps_the_categories_in_proportion(kinds, n):
    found = PromptSet("x", "harmful", tuple(Prompt(str(i), c) for i, c in enumerate(kinds)))
    taken = found.sample(n, seed=1)
    assert len(taken) == min(n, len(found))
    assert taken == found.sample(n, seed=1)
    for kind in set(kinds):
        share = len(taken) * kinds.count(kind) / len(kinds)
        assert abs(sum(p.category == kind for p in taken.prompts) - share) < 1


def test_a_sample_of_none_is_refused():
    with pytest.raises(PromptError, match="sample of 0"):
        PromptSet("x", "harmful", (Prompt("a"),)).sample(0)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", " =1", "\t=1", "\r1", "＝1"])
def test_cells_that_a_spreadsheet_would_run_are_neutralised(cell):
    assert neutralise(cell) == "'" + cell


@given(st.text(max_size=20))
def test_neutralised_cells_never_start_a_formula_and_plain_ones_stay(cell):
    safe = neutralise(cell)
    assert safe in (cell, "'" + cell)
    assert not safe.lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("text", ["", "  \n", "a\0b", "\ud800", None, 3.5 + 1j, ["a"]])
def test_a_typed_prompt_that_is_no_text_is_refused(text):
    with pytest.raises(PromptError):
        one_prompt(text)
    assert one_prompt(" how? ") == "how?"
    assert one_prompt("\u202eabc\u05d0") == "\u202eabc\u05d0"


def test_the_bundled_general_sets_are_whole():
    known = bundled()
    harmful, twins = known["general_harmful"], known["general_twins"]
    assert len(harmful) >= 1_200 and len(harmful.categories) >= 20
    forms = Counter(p.extra["form"] for p in harmful.prompts)
    assert set(forms) == {"imperative", "question", "typed", "long"} and min(forms.values()) > 200
    assert (harmful.role, twins.role) == ("harmful", "harmless")
    assert {p.twin for p in harmful.prompts} == set(twins.texts)
    assert {p.twin for p in twins.prompts} == set(harmful.texts)
    assert len(known["general_borderline"]) >= 50
    for name in ("general_harmful", "general_twins", "general_borderline"):
        split = known[name].split()
        assert split.overlap == 0 and min(len(split.search), len(split.held_out)) >= 30


def test_assets_are_found_by_the_environment_or_told(monkeypatch, tmp_path):
    monkeypatch.setenv("DAPA_ASSETS", str(tmp_path))
    assert dict(bundled()) == {}
    with pytest.raises(SettingError, match=r"words\.txt is missing"):
        asset("words.txt")
    monkeypatch.setenv("DAPA_ASSETS", str(tmp_path / "none"))
    with pytest.raises(SettingError, match="not a folder"):
        bundled()


def test_five_thousand_prompts_are_read_and_split_in_seconds(file):
    chance = random.Random(0)
    lines = [" ".join(f"w{chance.randrange(3000)}" for _ in range(10)) for _ in range(5_000)]
    path = file("big.txt", "\n".join(lines))
    start = time.process_time()
    found = read_prompts(path)
    assert len(found) == 5_000 and time.process_time() - start < 2
    found.split()
    assert time.process_time() - start < 12
