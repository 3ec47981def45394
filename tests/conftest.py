"""What many tests share: real images and weights where they are, and a browser."""

import functools
import os
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

# Test processes that each multiply with as many threads as there are cores would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright
    from starlette.applications import Starlette

    from labeler.workspace import Workspace

NEEDS = {
    "LABELER_TEST_DATA": "real images: a folder that holds aid, clothing, hirise",
    "LABELER_TEST_WEIGHTS": "a real network: a folder that holds mobilenet_v1_1.0_224",
}

LONGEST = (  # these files come first: none is left for one process alone at the end
    *("access", "offline", "deck", "pages", "browser", "simulate", "school", "worker", "walk", "proxy"),
    *("kills", "found", "language", "ingest", "survival", "volunteer", "builtin"),
)

CHROMIUM = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    # Requests that outlive a page would pass Playwright's routes by. The switch replaces Playwright's own, so
    # it repeats what of that matters here.
    "--disable-features=KeepAliveInBrowserMigration,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,PaintHolding,"
    "AvoidCorsURLLoaderRestartOnRedirect,ThirdPartyStoragePartitioning,DestroyProfileOnBrowserClose,"
    "AvoidUnnecessaryBeforeUnloadCheckSync,OptimizationHints,NetworkTimeServiceQuerying,PreconnectToSearch",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; the others stay in their order.

    A test of a browser that fails is tried once more, as a busy machine may keep a browser waiting for longer
    than a test waits. What was tried twice is named at the end of a run; what fails twice fails.
    """
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1))
    first = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path.stem, len(first)))


def _from_env(name: str) -> Path:
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"{name} is not set; this test needs {NEEDS[name]}")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"{name} is {value}, which is no folder")
    return folder


@pytest.fixture(autouse=True)
def _no_workspace_in_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever workspace the person who runs the tests uses stays out of them."""
    monkeypatch.delenv("LABELER_WORKSPACE", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk() -> Iterator[None]:
    """Let tests in this process commit without waiting: no test can tell, as none cuts the power.

    Servers and commands that tests start as processes wait, as they do for people.
    """
    from labeler.database import Connection

    real = Connection.execute

    @functools.wraps(real)
    def execute(self: Connection, sql: str, *args: Any) -> Any:  # Any: as sqlite3 has them
        return real(
            self, "PRAGMA synchronous = OFF" if sql.startswith("PRAGMA synchronous =") else sql, *args
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "execute", execute)
        yield


@pytest.fixture(autouse=True, scope="session")
def _the_same_chance() -> Iterator[None]:
    """Let sessions that tests begin in this process draw the same each time: a test that fails fails again.

    LABELER_TEST_SEED=N gives all of them other chances, to find the tests that rest on luck.
    """
    from labeler.store import Store

    real, other = Store.add_session, os.environ.get("LABELER_TEST_SEED", "")

    @functools.wraps(real)
    def add_session(self: Store, question: str, *args: Any, seed: int | None = None, **kwargs: Any) -> Any:
        return real(
            self,
            question,
            *args,
            seed=crc32(f"{question}{other}".encode()) if seed is None else seed,
            **kwargs,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "add_session", add_session)
        yield


@pytest.fixture
def ws(tmp_path: Path) -> Iterator["Workspace"]:
    """A workspace of 60 small images with a question, for tests that bring no pool of their own."""
    from tests.pools import make_pool
    from tests.served import begin

    ws = make_pool(tmp_path, 60, images=True)
    begin(ws)
    yield ws
    ws.close()


@pytest.fixture
def app(ws: "Workspace", monkeypatch: pytest.MonkeyPatch) -> "Iterator[Starlette]":
    """That workspace, shared: nobody comes in without a link."""
    from tests.served import served

    with served(ws, monkeypatch, shared=True) as (app, _):
        yield app


@pytest.fixture
def code(ws: "Workspace") -> str:
    """The code of a link to swipe by."""
    from labeler import people

    return people.make_link(ws, "swipe", lasts_s=3600)[0]


@pytest.fixture(scope="module", autouse=True)
def _plain_main() -> Iterator[None]:
    """Streamlit's AppTest leaves a page as the main module, which processes that are spawned would run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
        yield


@pytest.fixture(scope="module", autouse=True)
def _reached_as_by_default() -> Iterator[None]:
    """How a server was reached in the tests of one file stays in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labeler.reach._here", [])
        yield


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders compute in float32, so that their rows can be compared digit by digit on every processor."""
    monkeypatch.setattr("active.embedding.quick.computes_bfloat16", lambda: False)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real images; the test is skipped, saying so, where there is none."""
    return _from_env("LABELER_TEST_DATA")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Return the folder of the real network; the test is skipped, saying so, where there is none."""
    return _from_env("LABELER_TEST_WEIGHTS")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of Chromium. Without one, .ci/run fails and anybody else's run skips."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("CI"):
        pytest.fail("There is no Chromium, which .ci/run should have installed.")
    pytest.skip("There is no Chromium; install it to run the browser tests")


@pytest.fixture(scope="session")
def nginx() -> str:
    """Return the path of nginx. Without one, .ci/run fails and anybody else's run skips."""
    for folder in (None, "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"):  # not everybody's path names them
        if path := shutil.which("nginx", path=folder):
            return path
    if os.environ.get("CI"):
        pytest.fail("There is no nginx, which .ci/run should have installed.")
    pytest.skip("There is no nginx; install it to run the tests behind a proxy")


@pytest.fixture(scope="session")
def driver() -> Iterator["Playwright"]:
    """Return the one driver of browsers: a thread can run no second one beside it."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)  # a run of a page's script waits for a core, too
    with sync_playwright() as p:
        yield p


@pytest.fixture(scope="session")
def browser(driver: "Playwright", chromium: str) -> Iterator["Browser"]:
    """Return a headless Chromium; each test opens its own context in it."""
    running = driver.chromium.launch(executable_path=chromium, args=CHROMIUM)
    yield running
    running.close()
