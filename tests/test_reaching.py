"""The options that say how the server is reached: what goes together, what is refused, what is printed."""

import pytest

from labeler import places, reach
from tests.certificates import make_certificate
from tests.test_cli import free_port, here, paint, run, served

__all__ = ["here", "served"]  # fixtures


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--certificate", "site.crt"], "--certificate needs --key too"),
        (["--key", "site.key"], "--key needs --certificate too"),
        (["--base-path", "/a/../b"], "--base-path: '/a/../b' is no path."),
        (["--base-path", "https://labels.test/crowd"], "is no path."),
        (["--base-path", "tiles"], "/tiles is the name of a page here."),
        (["--behind-proxy", "labels.test"], "--behind-proxy: 'labels.test' is no address of a web site."),
        (["--behind-proxy", "https://labels.test/a", "--base-path", "b"], "leave one out"),
        (["--proxy-at", "10.0.0.5"], "--proxy-at only goes with --behind-proxy or --base-path."),
        (["--behind-proxy", "https://labels.test", "--proxy-at", "nginx"], "--proxy-at: 'nginx'"),
    ],
)
def test_options_that_make_no_sense_are_wrong_options(here, served, options, said):
    paint(here / "photos")
    result = run("start", "--images", "photos", *options, code=2)
    assert said in " ".join(result.stderr.split())
    assert served == []
    assert not (here / "data").exists()


def test_a_certificate_that_is_no_good_is_an_error_before_anything_is_made(here, served):
    paint(here / "photos")
    certificate, _ = make_certificate(here / "a")
    _, key = make_certificate(here / "b")
    result = run("start", "--images", "photos", "--certificate", certificate, "--key", key, code=1)
    assert "does not belong to the certificate" in result.stderr
    assert served == []
    assert not (here / "data").exists()


def links(result) -> dict[str, str]:
    """Return {what is said before it: link} without what is secret in it."""
    lines = [line.partition("?token=")[0] for line in result.stdout.splitlines() if "?token=" in line]
    return {line.rpartition(" ")[0].strip(" :"): line.rpartition(" ")[2] for line in lines}


def test_over_https_the_links_say_so_and_use_the_certificates_name(here, served, monkeypatch):
    paint(here / "photos")
    monkeypatch.setattr(places, "reachable", lambda host: "192.168.1.5")
    certificate, key = make_certificate(here / "tls", names=("labels.test",))
    files = ("--certificate", certificate, "--key", key)
    port = free_port()
    result = run("start", "--images", "photos", "--port", port, "--host", "0.0.0.0", "--no-browser", *files)
    assert links(result) == {
        "": f"https://labels.test:{port}/",
        "On this computer": f"https://localhost:{port}/",
        "By number, where browsers warn of the name": f"https://192.168.1.5:{port}/",
        "On a phone": f"https://labels.test:{port}/swipe",
    }
    assert reach.current().identity.is_for("labels.test")
    result = run("start", "--images", "photos", "--port", port, "--no-browser", *files)
    assert f"\n  https://192.168.1.5:{port}\n" in result.stdout  # what this machine calls itself here
    assert links(result) == {}


def test_behind_a_proxy_the_links_are_those_that_people_open(here, served):
    paint(here / "photos")
    port = free_port()
    args = ("start", "--images", "photos", "--port", port)
    result = run(*args, "--behind-proxy", "https://labels.test/crowd/")
    assert links(result) == {
        "": "https://labels.test/crowd/",
        "Past the proxy, on this computer": f"http://localhost:{port}/crowd/",
        "On a phone": "https://labels.test/crowd/swipe",
    }
    opened = next(call[1] for call in served if call[0] == "browser")
    assert opened.startswith(f"http://localhost:{port}/crowd/?token=")
    assert reach.current().shared


def test_shared_behind_a_proxy_others_join_by_the_public_address_and_nobody_past_it(here, served):
    paint(here / "photos")
    args = ("start", "--images", "photos", "--port", free_port(), "--no-browser", "--share")
    result = run(*args, "--behind-proxy", "https://labels.test/crowd")
    assert "\n  https://labels.test/crowd/join?token=" in result.stdout
    assert "\n  https://labels.test/crowd/?token=" in result.stdout
    assert served[-1][0] == "127.0.0.1"  # the proxy comes from here
    run("start", "--images", "photos", "--share", "--host", "127.0.0.1", code=2)


def test_with_a_path_alone_the_name_is_left_to_the_reader(here, served):
    paint(here / "photos")
    port = free_port()
    result = run("start", "--images", "photos", "--port", port, "--no-browser", "--base-path", "crowd")
    assert links(result)[""] == f"http://localhost:{port}/crowd/"
    assert "Others put the proxy's name in place of what stands before the path." in result.stdout
    assert reach.current().shared
