"""names.py: what every file system takes, and tells apart."""

import os
from pathlib import PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeler.names import is_portable, numbered, portable, shortened, twin_key

ANY = st.text(st.characters(codec="utf-8"), max_size=60) | st.binary(max_size=60).map(os.fsdecode)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("photos", "photos"), ("2024:01", "2024_01"), ("a/b\\c", "a_b_c"), ("tab\tline\n", "tab_line_"),
        ("dots...", "dots"), ("space ", "space"), ("..", "_"), ("", "_"), ("CON", "CON_"),
        ("nul.txt", "nul_.txt"),
        ("Com1 .tar.gz", "Com1_.tar.gz"), ("lpt³", "lpt³_"), ("console", "console"), ("com10", "com10"),
        ("caf\udce9", "caf_"), ("ünïcode 🦆", "ünïcode 🦆"), (".hidden", ".hidden"),
        ('<script>"?*|', "_script_____"),
    ],
)  # fmt: skip
def test_what_some_file_system_refuses_is_replaced(name, wanted):
    assert portable(name) == wanted
    assert is_portable(name) is (name == wanted)


@given(ANY)
def test_a_portable_name_stays_one_and_is_no_device_of_windows(name):
    made = portable(name)
    assert portable(made) == made
    assert made.encode("utf-8")
    assert not PureWindowsPath(made).is_reserved()
    assert PureWindowsPath("C:/x", made).parent == PureWindowsPath("C:/x")
    assert PureWindowsPath("C:/x", made).name == made


def test_names_that_some_system_takes_for_one_have_one_key():
    assert twin_key("A.JPG") == twin_key("a.jpg")
    assert twin_key("Mu\u0308ller") == twin_key("M\u00fcLLER")
    assert twin_key("STRASSE") == twin_key("straße")
    assert twin_key("a") != twin_key("ä")


@given(ANY, st.integers(2, 10**6))
def test_a_numbered_name_fits(name, n):
    made = numbered(name * 5, n)
    assert f"~{n}" in made
    assert len(os.fsencode(made)) <= 255 or "." in name  # an ending is kept whatever its length


@given(ANY, st.integers(0, 100))
def test_a_shortened_name_is_its_beginning(name, most):
    made = shortened(name, most)
    assert name.startswith(made)
    assert len(os.fsencode(made)) <= most
