import os
import shutil

import numpy as np
import pytest

from active.arrays import unit_rows
from labeler import places, space, turnfile
from labeler.errors import Blocked
from tests.pools import make_pool

WIDE, N = 300, 1100
ROWS = unit_rows(np.random.default_rng(1).normal(size=(2000, WIDE)).astype(np.float32))
KEY = "wide"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(space, "FILE_FROM", 700)
    monkeypatch.setattr(turnfile, "STRIDE", 200)
    monkeypatch.setattr(turnfile, "SPARE_BYTES", 0)
    monkeypatch.setattr(turnfile, "_known", set())


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 0, embedded=False)
    ws.registry.use(KEY, WIDE)
    embed(ws, N)
    yield ws
    ws.close()


def embed(ws, n):
    stored = ws.vectors(KEY, WIDE)
    stored.append(ROWS[len(stored) : n])
    ws.registry.set_embedded(KEY, WIDE, n)


def again(ws):
    """The same workspace in a process that has just begun."""
    turnfile._known.clear()
    space._spaces.pop(ws, None)
    return space.current(ws)


def in_memory(ws, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(space, "FILE_FROM", 10**9)
        return np.array(again(ws).rows)


def file_of(ws, basis=1024):
    return ws.cache / f"turned-{KEY}-{basis}.f32"


def equal(got, want):
    """Check that rows are the same, but for what a product of other rows beside them rounds otherwise."""
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def is_mapped(rows):
    while rows is not None and not isinstance(rows, np.memmap):
        rows = rows.base
    return rows is not None


def test_rows_of_a_large_pool_are_the_same_and_lie_in_a_file(ws, monkeypatch):
    want = in_memory(ws, monkeypatch)
    assert not file_of(ws).exists()
    got = again(ws)
    assert is_mapped(got.rows)
    equal(got.rows, want)
    assert file_of(ws).stat().st_size == N * 256 * 4


def test_it_grows_by_what_is_new(ws, monkeypatch):
    again(ws)
    before = file_of(ws).read_bytes()
    embed(ws, 1500)
    for opened in (space.current, again):
        equal(opened(ws).rows, in_memory(ws, monkeypatch))
    assert file_of(ws).read_bytes()[: len(before)] == before


def test_a_new_turn_takes_the_file_of_the_one_before_with_it(ws):
    again(ws)
    ws.registry.set_embedded(KEY, WIDE, 1023)
    assert again(ws).basis == 512
    assert file_of(ws, 512).exists()
    embed(ws, 1200)
    assert space.current(ws).basis == 1024
    assert [p.name for p in ws.cache.glob("turned-*")] == [file_of(ws).name]


def test_vectors_of_few_numbers_are_taken_where_they_lie(ws, monkeypatch):
    monkeypatch.setattr(space, "LEARN_DIM", WIDE)
    rows = again(ws).rows
    assert is_mapped(rows)
    np.testing.assert_array_equal(rows, ROWS[:N])
    assert not list(ws.cache.glob("turned-*"))


@pytest.mark.parametrize("damage", ["cut", "torn", "empty", "other", "zeros"])
def test_a_damaged_file_is_made_whole(ws, monkeypatch, damage):
    again(ws)
    path = file_of(ws)
    whole = path.read_bytes()
    harm = {
        "cut": whole[: 256 * 4 * 500], "torn": whole[: 256 * 4 * 500 + 13], "empty": b"",
        "other": bytes(reversed(whole)), "zeros": whole[: len(whole) // 2] + bytes(len(whole) // 2),
    }  # fmt: skip
    path.unlink()
    path.write_bytes(harm[damage])
    equal(again(ws).rows, in_memory(ws, monkeypatch))
    equal(np.fromfile(path, np.float32), np.frombuffer(whole, np.float32))


def test_vectors_that_were_cut_back_and_came_anew_are_turned_anew(ws):
    again(ws)
    stored = ws.vectors(KEY, WIDE)
    stored.cut(1050)
    ws.registry.set_embedded(KEY, WIDE, 1050)
    assert len(again(ws).rows) == 1050  # its file knew more than there is
    stored.append(ROWS[1500:1600])
    ws.registry.set_embedded(KEY, WIDE, 1150)
    found = space.current(ws)
    np.testing.assert_allclose(found.rows[1050:], space.turned(found.turn, ROWS[1500:1600]), atol=1e-6)


def test_a_file_that_goes_away_while_it_is_used_does_no_harm(ws, monkeypatch):
    before = again(ws).rows
    file_of(ws).unlink()
    assert np.isfinite(before).all()
    embed(ws, 1200)
    equal(space.current(ws).rows, in_memory(ws, monkeypatch))


def test_without_room_rows_stay_in_memory(ws, monkeypatch, caplog):
    monkeypatch.setattr(places, "free_bytes", lambda folder: 1000)
    rows = again(ws).rows
    assert not is_mapped(rows)
    equal(rows, in_memory(ws, monkeypatch))
    assert caplog.messages == [
        "Turned rows are kept in memory instead: There is too little room for turned-wide-1024.f32. "
        "Free some space; then try again."
    ]
    assert not file_of(ws).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_can_not_be_written_is_no_harm(ws, monkeypatch):
    again(ws)
    file_of(ws).unlink()
    ws.cache.chmod(0o500)
    try:
        assert not is_mapped(again(ws).rows)
    finally:
        ws.cache.chmod(0o700)


def test_a_disk_that_fills_up_meanwhile_is_said(tmp_path, monkeypatch):
    path = tmp_path / "turned.f32"

    def full(lo, hi):
        if lo >= 400:
            raise OSError(28, "No space left on device")
        return ROWS[lo:hi, :256]

    with pytest.raises(Blocked, match=r"turned\.f32 can't be written"):
        turnfile.kept(path, 1000, 256, full)
    rows = turnfile.kept(path, 1000, 256, lambda lo, hi: ROWS[lo:hi, :256])
    np.testing.assert_array_equal(rows, ROWS[:1000, :256])


def test_an_encoder_that_is_removed_takes_its_file_with_it(ws):
    from labeler import encoders

    again(ws)
    ws.registry.use("other", WIDE)
    assert file_of(ws) in encoders._files(ws, KEY, WIDE)


def test_a_copied_cache_is_used(ws, tmp_path):
    want = np.array(again(ws).rows)
    shutil.copy(file_of(ws), tmp_path / "copy.f32")
    file_of(ws).unlink()
    (tmp_path / "copy.f32").rename(file_of(ws))
    equal(again(ws).rows, want)


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_file_that_another_process_deletes_or_cuts_meanwhile_is_no_harm(ws, monkeypatch, harm):
    want, real = in_memory(ws, monkeypatch), turnfile._grow

    def grow(path, *rest):
        real(path, *rest)
        path.unlink() if harm == "gone" else os.truncate(path, 100)

    monkeypatch.setattr(turnfile, "_grow", grow)
    rows = again(ws).rows
    assert not is_mapped(rows)
    equal(rows, want)


def test_a_file_that_another_process_has_begun_is_not_cut_off(tmp_path):
    path = tmp_path / "turned.f32"

    def both(lo, hi):
        if lo == 0 and not path.stat().st_size:
            path.write_bytes(ROWS[:600, :256].tobytes())  # the other one was quicker
        return ROWS[lo:hi, :256]

    np.testing.assert_array_equal(turnfile.kept(path, 1000, 256, both), ROWS[:1000, :256])
