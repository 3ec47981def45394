import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from labeler import worker
from labeler.server import desk as desk_module
from labeler.server.desk import Desk
from tests.pools import make_pool
from tests.served import Still, begin


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 5)
    begin(ws)
    yield ws
    ws.close()


def hold(ws, use):
    """Return what use(desk) returns while the desk is open."""

    async def main():
        desk = Desk()
        async with desk.serving(ws, shared=False):
            return await use(desk)

    with ThreadPoolExecutor(1) as own:  # the browser tests leave a loop running in this thread
        return own.submit(asyncio.run, main()).result()


@pytest.fixture(autouse=True)
def _no_child(monkeypatch):
    monkeypatch.setattr(desk_module, "Worker", Still)


def test_reads_and_writes_leave_the_event_loop_alone(ws):
    async def use(desk):
        here = threading.current_thread().name
        return here, await desk.read(name), await desk.write(name)

    def name(_):
        return threading.current_thread().name

    here, reader, writer = hold(ws, use)
    assert reader.startswith("reader")
    assert len({here, reader, writer}) == 3


def test_the_stamp_belongs_to_the_workspace(ws, tmp_path):
    async def use(desk):
        return desk.stamp

    other = make_pool(tmp_path / "other", 5)
    assert hold(ws, use) == hold(ws, use) != hold(other, use)
    other.close()


def test_threads_that_compute_give_way_soon_while_the_desk_is_open(ws):
    async def use(desk):
        return sys.getswitchinterval()

    before = sys.getswitchinterval()
    assert hold(ws, use) == pytest.approx(desk_module.SWITCH_S)
    assert sys.getswitchinterval() == pytest.approx(before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no niceness of their own")
def test_what_computes_has_threads_of_its_own_that_stand_back(ws):
    def nice(_):
        return threading.current_thread().name, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def use(desk):
        held = asyncio.gather(*(desk.ponder(lambda _: go.wait(10)) for _ in range(9)))
        while (
            len([t for t in threading.enumerate() if t.name.startswith("ponderer")]) < desk_module.PONDERERS
        ):
            await asyncio.sleep(0.01)
        reader = await desk.read(nice)  # finds a thread although so much is computed
        go.set()
        await held
        return reader, await desk.ponder(nice)

    go = threading.Event()
    (reader, at), (ponderer, back) = hold(ws, use)
    assert (reader[:6], ponderer[:8]) == ("reader", "ponderer")
    assert back == min(19, at + desk_module.PONDER_NICE)


def test_a_caller_who_hangs_up_does_not_disturb_the_writer(ws):
    async def use(desk):
        began, go = threading.Event(), threading.Event()

        def slow(ws):
            began.set()
            go.wait(5)
            ws.store.set_fact("slow", "done")

        task = asyncio.create_task(desk.write(slow))
        await asyncio.to_thread(began.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        return await desk.write(lambda ws: ws.store.fact("slow"))

    assert hold(ws, use) == "done"


def test_the_worker_is_stopped_when_serving_ends(ws, monkeypatch):
    ended = []

    def stop(self):
        ended.append(self)

    monkeypatch.setattr(Still, "stop", stop)

    async def use(desk):
        return desk.worker

    assert [hold(ws, use)] == ended
    assert worker.current() is None
