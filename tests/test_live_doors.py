"""What comes from outside the live page: requests, websockets, files. Nothing of it does harm or stops the others."""

import asyncio
import base64
import io
import json
import os
import random
import tempfile
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nicegui", reason="the live page is an extra: pip install '.[live]'")
from live import files
from live.guard import BODY, COOKIE, Guard
from live.page import body_json, weakly
from live.plan import Prompt
from live.shown import ROW, Stretch, join, show_all
from live.studio import Studio
from live.visits import GONE, GRACE, OTHER, SLOW, Bucket, Outbox, Visits, read_report
from motion.body import rest_body
from motion.captures import Reading
from motion.formats.export import Style
from motion.representation_272 import DIM, Start, motion272_to_positions, pose_to_motion272
from motion.rotation import axis_angle_to_matrix
from motion.skeleton import forward_kinematics
from test_gltf import read
from visitor import SETTINGS, wait
from test_pipeline import streamer
from test_smpl import model as smpl
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect


# Guard

def answer(guard: Guard, headers: dict, query: str = "", kind: str = "http", method: str = "GET") -> tuple[int, list]:
    """Status that a request gets, and the headers."""
    sent = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    guard.app = app
    scope = dict(type=kind, method=method, query_string=query.encode(),
                 headers=[(name.encode(), value.encode()) for name, value in headers.items()])

    async def receive():
        return {"type": "websocket.connect" if kind == "websocket" else "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent[0].get("status", sent[0].get("code")), sent[0].get("headers", [])


HOME = {"host": "localhost:8123"}


@pytest.mark.parametrize("headers, kind, method, status", [
    (HOME, "http", "GET", 200), ({"host": "127.0.0.1:80"}, "http", "GET", 200),
    ({"host": "[::1]:80"}, "http", "GET", 200),
    ({"host": "evil.example"}, "http", "GET", 421), ({}, "http", "GET", 421),
    ({"host": "localhost.evil.example:8123"}, "websocket", "GET", 4421),
    ({**HOME, "origin": "http://localhost:8123"}, "websocket", "GET", 200),
    ({**HOME, "origin": "http://evil.example"}, "websocket", "GET", 4403),
    ({**HOME, "origin": "http://localhost:9000"}, "websocket", "GET", 4403),
    ({**HOME, "origin": "null"}, "http", "POST", 403),
    ({**HOME, "origin": "http://evil.example"}, "http", "GET", 403),
    ({**HOME, "sec-fetch-site": "cross-site", "sec-fetch-dest": "image"}, "http", "GET", 403),
    ({**HOME, "sec-fetch-site": "same-site", "sec-fetch-dest": "iframe"}, "http", "GET", 403),
    ({**HOME, "sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}, "http", "GET", 200),
    ({**HOME, "sec-fetch-site": "same-origin", "sec-fetch-dest": "empty"}, "http", "GET", 200),
    ({**HOME, "content-length": str(BODY + 1)}, "http", "POST", 413),
    ({**HOME, "content-length": "-1"}, "http", "POST", 413),
])
def test_only_pages_of_this_host_come_in(headers, kind, method, status):
    assert answer(Guard(None), headers, kind=kind, method=method)[0] == status


def test_elsewhere_only_with_the_token():
    guard, there = Guard(None, hosts=(), token="s3cret"), {"host": "gpu.lab:8123"}
    for query, headers, status in (("", there, 401), ("token=wrong", there, 401), ("token=s3cret", there, 200),
                                   ("", {**there, "cookie": f"{COOKIE}=s3cret"}, 200),
                                   ("", {**there, "cookie": "=;;\"[" }, 401), ("token=%FF%00", there, 401)):
        found, sent = answer(guard, headers, query)
        assert found == status
        assert any(name == b"set-cookie" for name, _ in sent) == (query == "token=s3cret")
        assert answer(guard, headers, query, "websocket")[0] == (200 if status == 200 else 4401)
    with pytest.raises(ValueError, match="needs a token"):
        Guard(None, hosts=())


def test_a_body_longer_than_it_says_is_cut_off():
    seen = []

    async def app(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            seen.append(len(message["body"]))

    async def receive():
        return {"type": "http.request", "body": bytes(10 ** 7), "more_body": True}

    scope = dict(type="http", method="POST", query_string=b"", headers=[(b"host", b"localhost")])
    asyncio.run(Guard(app)(scope, receive, None))
    assert sum(seen) <= BODY


# Websocket

@pytest.fixture
def served():
    """A client of a small server with one studio; GET /new gives the name of a new page."""
    studio = Studio(lambda precision: streamer())
    visits = Visits(studio, most=8)

    async def new(request):
        try:
            return PlainTextResponse(visits.new().name)
        except ValueError as error:
            return PlainTextResponse(str(error), 503)

    app = Starlette(routes=[Route("/new", new), WebSocketRoute("/frames", visits.endpoint)])
    with TestClient(app) as client:
        client.visits = visits
        yield client
    studio.close()


def hear(websocket, until: int, have: int = 0) -> np.ndarray:
    """Rows of the frames from `have` on, until that frame is there; as in the page, what leaves a gap is left."""
    rows = np.empty((0, ROW), np.float32)
    while have + len(rows) < until:
        if content := websocket.receive().get("bytes"):
            first = int.from_bytes(content[:4], "little") - have
            if first <= len(rows):
                rows = np.concatenate([rows[:first], np.frombuffer(content[4:], "<f4").reshape(-1, ROW)])
    return rows


def test_a_page_gets_frames_and_comes_back(served):
    name, studio = served.get("/new").text, served.visits.studio
    with served.websocket_connect(f"/frames?page={name}") as websocket:
        wait(lambda: served.visits.open[name].session)
        session = served.visits.open[name].session
        studio.ask(session, Prompt("walk", SETTINGS)).result()
        first = hear(websocket, 40)
        websocket.send_text(json.dumps({"frame": 30, "rate": 30}))
        hear(websocket, 60, have=40)
    with served.websocket_connect(f"/frames?page={name}&have=22") as websocket:
        assert np.array_equal(hear(websocket, 40, have=20)[:20], first[20:40])
        assert served.visits.open[name].session is session


def test_who_closes_is_forgotten_within_seconds(served):
    name, studio = served.get("/new").text, served.visits.studio
    with served.websocket_connect(f"/frames?page={name}"):
        wait(lambda: studio.sessions)
    begun = time.monotonic()
    wait(lambda: not studio.sessions and not served.visits.open)
    assert GRACE - 0.5 < time.monotonic() - begun < GRACE + 3


def test_a_second_websocket_closes_the_first(served):
    """And the session goes on with the second; with the page, that is closed too."""
    name, studio = served.get("/new").text, served.visits.studio
    with served.websocket_connect(f"/frames?page={name}") as first:
        wait(lambda: studio.sessions)
        with served.websocket_connect(f"/frames?page={name}") as second:
            assert closing(first) == OTHER
            studio.ask(served.visits.open[name].session, Prompt("walk", SETTINGS)).result()
            hear(second, 20)
            visit = served.visits.open[name]
            visit.loop.call_soon_threadsafe(served.visits.end, visit)
            assert closing(second) == GONE
    assert not served.visits.open


def closing(websocket) -> int:
    """The code with which it is closed."""
    while (message := websocket.receive())["type"] != "websocket.close":
        pass
    return message["code"]


def test_an_unknown_page_is_told_so(served):
    with served.websocket_connect("/frames?page=nobody&have=zzz") as websocket:
        with pytest.raises(WebSocketDisconnect) as closed:
            websocket.receive_text()
    assert closed.value.code == 4404


def test_only_so_many_pages_are_open(served):
    assert {served.get("/new").status_code for _ in range(8)} == {200}
    assert served.get("/new").status_code == 503


def test_who_takes_nothing_is_closed_before_much_is_kept():
    """However large a message is; and many small ones are not much."""
    class Slow:
        def __init__(self):
            self.open, self.sent, self.code = asyncio.Event(), [], None

        async def send_bytes(self, message):
            await self.open.wait()
            self.sent.append(message)

        async def close(self, code):
            self.code = code

    async def sent(size: int, count: int) -> tuple[int, int | None]:
        visit, websocket, out = Visits(None).new(), Slow(), Outbox(10 ** 6)
        visit.hand_over(out)
        sending = asyncio.create_task(visit.send(websocket, out))
        for _ in range(count):
            visit.deliver(bytes(size))
            await asyncio.sleep(0)
            assert out.unsent <= 10 ** 6 + size
        websocket.open.set()
        out.end()
        await sending
        visit.ending.cancel()
        return len(websocket.sent), websocket.code

    assert asyncio.run(sent(40_000, 100)) == (1, SLOW)
    assert asyncio.run(sent(40, 20_000)) == (20_000, SLOW)


def test_ten_thousand_senseless_messages(served):
    """They change nothing, for this page or another."""
    names = [served.get("/new").text for _ in range(2)]
    rng, studio = random.Random(0), served.visits.studio
    with served.websocket_connect(f"/frames?page={names[0]}") as good:
        wait(lambda: served.visits.open[names[0]].session)
        studio.ask(served.visits.open[names[0]].session, Prompt("walk", SETTINGS)).result()
        for number in range(10_000 // 500):
            have = rng.choice(["-1", "9" * 30, "", "7"])
            with served.websocket_connect(f"/frames?page={names[1]}&have={have}") as bad:
                for _ in range(500):
                    bad.send_text(senseless(rng))
                if number % 5 == 0:
                    bad.send_bytes(b"\xff" * 9)
        hear(good, 60)
        good.send_text('{"frame": 50, "rate": 0}')
        hear(good, 100, have=60)
    assert len(studio.sessions) <= 2


def senseless(rng: random.Random) -> str:
    some = [0, -1, 1e308, "x", None, [], {}, True, float("nan"), float("inf"), "9" * 400]
    one, other = rng.choice(some), rng.choice(some)
    keys = rng.sample(["frame", "rate", "cut", "prompts", ""], 2)
    return rng.choice([
        json.dumps(dict(zip(keys, (one, other)))), json.dumps([one, other]), json.dumps({"frame": one, "rate": other}),
        "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randrange(200))), "[" * 190, "", "x" * 100_000])


@pytest.mark.parametrize("text, found", [
    ('{"frame": 12.5, "rate": 30}', (12.5, 30.0)), ('{"frame": 1, "rate": 1e9}', (1.0, 120.0)), ("", None),
    ("[]", None), ('{"frame": NaN, "rate": 0}', None), ('{"frame": "x", "rate": 0}', None), ('{"frame": 1}', None),
    ("{" * 500, None)])
def test_reports_are_numbers_or_nothing(text, found):
    assert read_report(text) == found


def test_a_bucket_lets_so_much_through():
    bucket = Bucket(rate=0.0, burst=3)
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]


# Files

def test_what_goes_out_comes_in_again():
    """BVH, npz and npy of a motion, read as uploads; text of prompts and times; a name after the first prompt."""
    motion, stretch = clip(), join(show_all(clip()), [(0, "walk"), (45, "sit")])
    for kind in ("bvh", "npz", "npy"):
        content = files.write_download(kind, stretch)
        found, *_ = files.read_upload({f"C:\\..\\etc/{kind}.{kind.upper()}": content})
        shown, expected = motion272_to_positions(found.astype(float)), motion272_to_positions(motion.astype(float))
        assert found.shape == motion.shape and np.abs(shown - expected)[:, 0].max() < 0.05, kind
    assert [one.rows for one in files.show_motion(motion)] == [one.rows for one in show_all(motion)]
    text = files.write_download("txt", stretch).decode()
    assert text.split() == ["0.00", "s", "walk", "1.50", "s", "sit"]
    assert files.file_name([(0, "A person: walks/../x")], "bvh") == "a-person-walks-x.bvh"
    assert files.file_name([], "bvh") == "motion.bvh" and files.file_name([], "strip") == "motion_strip.png"
    assert files.file_name([], "txt") == "motion.txt"


def test_an_upload_is_read_as_it_is_told_and_says_what_it_is():
    content = {"a.bvh": files.write_download("bvh", join(show_all(clip()), []))}
    found, slow = files.read_upload(content), files.read_upload(content, reading=Reading(fps=15, up="y"))
    assert len(slow.motion) > 1.8 * len(found.motion)
    assert "skeleton smpl" in found.said and "at 30 fps" in found.said and "at 15 fps" in slow.said
    with pytest.raises(ValueError, match="expected a T-pose at frame 999"):
        files.read_upload(content, reading=Reading(rest_frame=999))


def test_a_stretch_goes_out_and_comes_in_where_it_stands():
    """A marked part of a motion that begins anywhere, in the pose that is shown; read again, it is shown there."""
    whole = join(show_all(clip(), Start(0.7, 5.0, -3.0)))
    part = Stretch(whole.motion[21:41], whole.rows[21:41], [(0, "walk")])
    for kind in ("bvh", "npz"):
        content = files.write_download(kind, part)
        assert (kind != "bvh") or np.abs(pelvis_of(content) - part.rows[:, :3]).max() < 1e-4
        shown = join(files.show_motion(*files.read_upload({f"a.{kind}": content})[:2]))
        assert np.abs(shown.rows[0, [0, 2]] - part.rows[0, [0, 2]]).max() < 1e-3, kind
        assert np.abs(shown.rows[:, [0, 2]] - part.rows[:, [0, 2]]).max() < 0.05, kind


def test_what_goes_out_has_the_servers_style(tmp_path):
    """Its bones' names; and the mesh of its SMPL file, which the page shows, too."""
    whole, arrays = join(show_all(clip())), smpl(24)
    arrays["v_template"] = 1.1 * arrays["v_template"]
    np.savez(tmp_path / "tall.npz", **arrays)
    style = Style(body=tmp_path / "tall.npz", bones="mixamo")
    assert b"mixamorig:Hips" in files.write_download("bvh", whole, style)
    (tmp_path / "a.glb").write_bytes(files.write_download("glb", whole, style))
    gltf, arrays = read(tmp_path / "a.glb")
    shown = base64.b64decode(json.loads(body_json(style.mesh))["vertices"])
    np.testing.assert_array_equal(arrays[gltf["meshes"][0]["primitives"][0]["attributes"]["POSITION"]],
                                  np.frombuffer(shown, "<f4").reshape(-1, 3))
    assert len(shown) == 12 * len(rest_body().vertices) and body_json(style.mesh) != body_json(Style().mesh)


def pelvis_of(bvh: bytes) -> np.ndarray:
    """The first three channels of a BVH of ours, frame by frame."""
    rows = bvh.decode().partition("Frame Time")[2].splitlines()[1:]
    return np.array([[float(word) for word in row.split()[:3]] for row in rows])


@pytest.mark.parametrize("frames, kept", [(7, 4), (8, 8), (files.KEPT + 9, files.KEPT)])
def test_of_a_capture_the_last_whole_latents_are_kept(frames, kept):
    assert files.last(frames) == slice(frames - kept, None)


def clip() -> np.ndarray:
    """A motion (T, 272) of a body that turns and waves."""
    time, turns = np.arange(48) / 30, np.zeros((48, 22, 3))
    turns[:, 0, 1], turns[:, 17, 2], turns[:, 4, 0] = time, 0.8 * np.sin(5 * time), 0.4 * np.sin(3 * time)
    rotations = axis_angle_to_matrix(turns)
    pelvis = np.stack([0.3 * time, 0.95 + 0 * time, 0.5 * time], 1)
    return pose_to_motion272(rotations, forward_kinematics(rotations, pelvis)).astype(np.float32)


def array_file(values: np.ndarray, **how) -> bytes:
    content = io.BytesIO()
    np.save(content, values, **how)
    return content.getvalue()


@pytest.mark.parametrize("given, said", [
    ({"a.exe": b"MZ"}, "found .exe; expected a .bvh"), ({"a": b""}, "found no suffix"), ({}, "expected a .bvh"),
    ({"a.amc": b":FULLY-SPECIFIED"}, "give its .asf with it"), ({"a.npy": b"\x93NUMPY"}, "no motion"),
    ({"a.bvh": b"HIERARCHY"}, "capture.bvh: found"), ({"a.npz": b"PK\x03\x04"}, "capture.npz"),
    ({"a.bvh": bytes(files.SENT + 1)}, "too large"),
    ({"a.npy": array_file(clip()[:3])}, "3 frames at 30 a second: expected 4"),
])
def test_bad_uploads_are_refused_in_one_sentence(given, said):
    with pytest.raises(ValueError, match=said) as refused:
        files.read_upload(given)
    assert "/tmp" not in str(refused.value) and "\n" not in str(refused.value).strip()


def test_an_array_with_code_in_it_is_not_run(tmp_path):
    content = array_file(np.array([Trap(str(tmp_path / "ran"))], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="no motion"):
        files.read_upload({"a.npy": content})
    assert not (tmp_path / "ran").exists()


class Trap:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_worker_has_limits():
    with pytest.raises(ValueError, match="took more than 1 s"):
        files.in_worker(time.sleep, 30, seconds=1.0)
    with pytest.raises(ValueError, match="of memory"):
        files.in_worker(bytearray, 3 * 10 ** 9, seconds=20.0)
    with pytest.raises(ValueError, match="process that tried ended"):
        files.in_worker(exit_hard, seconds=20.0)
    assert files.in_worker(len, [1, 2], seconds=20.0) == 2


def exit_hard() -> None:
    os._exit(9)


def test_a_worker_that_is_ended_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="took more than"):
        files.in_worker(write_and_wait, str(tmp_path / "began"), seconds=4.0)
    assert [path.name for path in tmp_path.iterdir()] == ["began"]


def write_and_wait(began: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "capture.bvh").write_text("HIERARCHY")
        Path(began).touch()
        time.sleep(30)


def test_a_worker_for_nobody_is_ended():
    begun = time.monotonic()
    with pytest.raises(ValueError, match="was closed"):
        files.in_worker(time.sleep, 30, seconds=30.0, wanted=lambda: False)
    assert time.monotonic() - begun < 15


def test_one_file_at_a_time_of_a_page_and_two_of_all():
    """Others wait for their turn, but none for MoSa's; whose page was closed meanwhile does nothing."""
    async def run() -> None:
        visits = Visits(None)
        pages = [visits.new() for _ in range(4)]
        held, began = threading.Event(), []
        work = lambda number: (began.append(number), held.wait(20))
        mosa = [asyncio.create_task(pages[place].work("clip or edit", work, 10 + place)) for place in range(2)]
        await asyncio.sleep(0.1)
        tasks = [asyncio.create_task(page.work("file", work, number)) for number, page in enumerate(pages)]
        while len(began) < 3:
            await asyncio.sleep(0.01)
        for kind in ("file", "clip or edit"):
            with pytest.raises(ValueError, match=f"one {kind} at a time"):
                await pages[0].work(kind, work, 9)
        visits.end(pages[2])
        await asyncio.sleep(0.1)
        assert sorted(began) == [0, 1, 10]
        held.set()
        found = await asyncio.gather(*tasks, *mosa, return_exceptions=True)
        assert sorted(began) == [0, 1, 3, 10, 11] and "closed" in str(found[2])
        visits.close()
        assert not any(page.here for page in pages)

    asyncio.run(run())


def test_damaged_uploads_do_no_harm():
    """Each is refused, or is a motion."""
    rng = random.Random(0)
    whole = {kind: files.write_download(kind, join(show_all(clip()))) for kind in ("bvh", "npz", "npy")}
    for kind, content in whole.items():
        for _ in range(12):
            damaged = bytearray(content[:rng.randrange(len(content))] if rng.random() < 0.3 else content)
            for _ in range(rng.randrange(1, 30)):
                if damaged:
                    damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            try:
                found, *_ = files.read_upload({f"a.{kind}": bytes(damaged)})
            except ValueError:
                continue
            assert found.shape[1] == DIM and found.dtype == np.float32


def test_downloads_that_cannot_be_are_refused():
    for kind, frames, said in (("exe", 48, "no format 'exe'"), ("bvh", 0, "no motion yet"),
                               ("mp4", files.SHOWN + 1, "mark a stretch")):
        stretch = Stretch(np.zeros((frames, DIM), np.float32), np.zeros((frames, ROW), np.float32), [])
        with pytest.raises(ValueError, match=said):
            files.write_download(kind, stretch)


def test_uploads_keep_no_page():
    class Other:
        def __init__(self):
            self.said = []

        async def hear(self, event):
            self.said.append(event)

    other = Other()
    call, gone = weakly(other.hear), weakref.ref(other)
    asyncio.run(call(1))
    assert other.said == [1]
    del other
    asyncio.run(call(2))
    assert gone() is None
