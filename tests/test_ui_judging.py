"""Who judges, as the screen asks for it: checked on the server before anything is asked."""

import pytest
from classifiers import train

from dapa.core.records import SettingError
from dapa.ui.dashboard import Dashboard
from dapa.ui.tabs.evaluate import judging
from dapa.workbench import Workbench

ADDRESS = ("url=http://127.0.0.1:1/v1", "model=tiny")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(train(tmp_path_factory.mktemp("plain"), steps=1))


@pytest.fixture(scope="module")
def nameless(tmp_path_factory):
    return str(train(tmp_path_factory.mktemp("nameless"), ("LABEL_0", "LABEL_1"), steps=1))


@pytest.fixture
def dashboard(tmp_path):
    return Dashboard(Workbench(tmp_path))


def test_a_checkpoint_and_its_mapping_become_options(dashboard, checkpoint, nameless):
    assert judging.chosen(dashboard, ["rules", "released", "rules"], "", "") == (
        ("rules", "released"),
        (),
    )
    told = judging.chosen(dashboard, ["classifier"], f" {checkpoint} ", "")
    assert told == (("classifier",), (f"checkpoint={checkpoint}",))
    labels = "LABEL_0=compliance, LABEL_1 = Refusal"
    names, options = judging.chosen(dashboard, ["classifier"], nameless, labels)
    (judge,) = Workbench.panel(names, options).judges
    assert judge("how do i rob a bank", "I cannot help with that.").reason.startswith("LABEL_")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ("", "map each of LABEL_0, LABEL_1, as in LABEL_0=compliance"),
        ("LABEL_0=refusal", "map each of LABEL_0, LABEL_1"),
        ("LABEL_0=fine, LABEL_1=refusal", "'fine' is not a verdict"),
        ("Yes=refusal", "no class 'Yes'; its classes are LABEL_0, LABEL_1"),
        ("nonsense", "write CLASS=verdict,CLASS=verdict"),
    ],
)
def test_classes_that_are_not_known_are_named_before_anything_is_asked(
    dashboard, nameless, labels, told
):
    with pytest.raises(SettingError, match=told):
        judging.chosen(dashboard, ["classifier"], nameless, labels)


@pytest.mark.parametrize("name", ["", None, "nowhere", "/etc/passwd", 3, "org/missing", "x" * 2000])
def test_what_is_no_checkpoint_is_refused(dashboard, name):
    with pytest.raises(SettingError) as caught:
        judging.chosen(dashboard, ["classifier"], name, "")
    assert "\n" not in str(caught.value) and "root:" not in str(caught.value)


def test_an_endpoint_is_offered_only_where_the_starter_named_one(dashboard, tmp_path):
    assert "endpoint" not in judging.offered(dashboard)
    for name in ("endpoint", "two-stage", "magic", None):
        with pytest.raises(SettingError, match="does not exist"):
            judging.chosen(dashboard, [name], "", "")
    named = Dashboard(Workbench(tmp_path), ADDRESS)
    assert list(judging.offered(named)) == [
        "rules", "released", "classifier", "endpoint", "two-stage"
    ]  # fmt: skip
    assert judging.chosen(named, ["endpoint", "rules"], "", "") == (("endpoint", "rules"), ADDRESS)
