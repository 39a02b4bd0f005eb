"""The live page when it is used badly: pages opened and dropped, senseless messages, damaged uploads.

    python -m benchmarks.live_robust --sessions 200 --messages 10000 --uploads 500

Starts `demo_live.py` with a folder for temporary files of its own. Guests open pages without a browser: they fetch the
page, its websocket of frames and its events. Meanwhile one good guest's character walks on: its frames have to come in
order and in time throughout. Afterwards the temporary folder must be empty, no file of the repository changed.
memory_mb    of the server: after the first guests have gone (it keeps caches from then on), and after all have
slowest_s    longest time for which the good guest had no frame to show
"""

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import aiohttp
import numpy as np
import socketio

from benchmarks.live import ROOT, served
from demo_live import FEW
from live import files
from live.plan import Prompt, Settings, to_link
from live.shown import ROW, join, show_all
from motion.representation_272 import DIM, FPS, pose_to_motion272
from motion.skeleton import JOINT_NAMES, forward_kinematics
from options import opt, parse
from options.sampling import Sampling
from utils.errors import run

WARM = 20               # guests before memory is first measured
TOGETHER = 8            # guests at once
GONE = 25.0             # seconds after which nothing of a guest is left
KINDS = ("bvh", "npz", "npy")
WALK = Prompt("a person walks forward", Settings(Sampling(steps=FEW[0][0], solver=FEW[0][1])))
PLAN = urlencode({"plan": to_link([WALK])})


@dataclass(frozen=True)
class Robust:
    """Use the live page badly."""

    sessions: int = opt(200, "pages opened and dropped")
    messages: int = opt(10_000, "senseless messages, half of them frames' and half events'")
    uploads: int = opt(500, "damaged uploads that are read, and as many requests")
    seed: int = opt(0, "of all that is senseless")
    port: int = opt(8178, "port of the server")


@dataclass
class Guest:
    """A page without a browser."""

    http: aiohttp.ClientSession
    html: str
    frames: aiohttp.ClientWebSocketResponse
    events: socketio.AsyncClient
    edge: int = 0

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, query: str = "") -> "Guest":
        async with http.get(f"/?{query}") as answer:
            html = await answer.text()
        page, = re.findall(r'"page":"([\w-]+)"', html)
        client, = re.findall(r"'client_id': '([\w-]+)'", html)
        events = socketio.AsyncClient(reconnection=False)
        ids = dict(client_id=client, next_message_id=0, implicit_handshake="true", tab_id=page, document_id=page)
        await events.connect(f"{http._base_url}?{urlencode(ids)}", transports=["websocket"],
                             socketio_path="/_nicegui_ws/socket.io")
        frames = await http.ws_connect(f"/live/frames?page={page}", max_msg_size=0)
        return cls(http, html, frames, events)

    @property
    def elements(self) -> dict[str, dict]:
        """What NiceGUI made, by its numbers."""
        return json.loads(re.findall(r"parseElements\(String\.raw`(.*)`\)", self.html)[0])

    @property
    def client(self) -> str:
        return re.findall(r"'client_id': '([\w-]+)'", self.html)[0]

    async def hear(self, until: int, seconds: float = 60.0) -> None:
        """Take messages until that frame is there. ValueError for a gap, TimeoutError if nothing comes."""
        while self.edge < until:
            message = await self.frames.receive(timeout=seconds)
            if message.type == aiohttp.WSMsgType.TEXT:
                self.edge = min(self.edge, message.json().get("cut", self.edge))
            elif message.type != aiohttp.WSMsgType.BINARY:
                raise ValueError(f"the websocket ended ({message.type.name} {message.data})")
            elif int.from_bytes(message.data[:4], "little") != self.edge:
                raise ValueError(f"frame {self.edge} did not come")
            else:
                self.edge += (len(message.data) - 4) // (4 * ROW)

    async def play(self, ended: asyncio.Event) -> float:
        """Look at frame after frame -> the longest time, in seconds, without one to show."""
        head, longest, last = 0.0, 0.0, time.monotonic()
        while not ended.is_set():
            await self.frames.send_json({"frame": round(head, 2), "rate": FPS})
            begun = time.monotonic()
            await self.hear(int(head) + 2)
            longest = max(longest, time.monotonic() - begun)
            await asyncio.sleep(0.1)
            now = time.monotonic()
            head, last = min(head + FPS * (now - last), self.edge), now
        return longest

    async def drop(self) -> None:
        """Gone, without a word."""
        with suppress(Exception):
            await self.frames.close()
        with suppress(Exception):
            await self.events.disconnect()


async def sessions(http: aiohttp.ClientSession, count: int) -> None:
    """Guests that come, see a second of motion, or their place in the queue, and go."""
    async def one() -> None:
        guest = await Guest.open(http, PLAN)
        await guest.frames.send_json({"frame": 0, "rate": 0})
        with suppress(TimeoutError):
            await guest.hear(FPS, seconds=1.0)
        await guest.drop()

    for first in range(0, count, TOGETHER):
        await asyncio.gather(*(one() for _ in range(first, min(first + TOGETHER, count))))
        await asyncio.sleep(5)                               # those before have to go: so many pages are open at most


async def messages(http: aiohttp.ClientSession, count: int, rng: random.Random) -> Counter:
    """Senseless reports on the websocket, and senseless events of true elements; how often each got through."""
    found: Counter = Counter()
    while found["sent"] < count:
        guest = await Guest.open(http)
        targets = [(int(element), event["listener_id"]) for element, described in guest.elements.items()
                   for event in described.get("events", ())]
        for number in range(min(count - found["sent"], 250)):
            found["sent"] += 1
            try:
                if number % 2:
                    await guest.frames.send_str(senseless(rng))
                else:
                    element, listener = rng.choice(targets)
                    await guest.events.emit(rng.choice(["event"] * 8 + ["ack", "javascript_response"]), rng.choice([
                        dict(id=element, client_id=guest.client, listener_id=listener, args=[senseless(rng)]),
                        dict(id=element, client_id=guest.client, listener_id=listener, args=[senseless(rng)] * 2),
                        dict(client_id=guest.client, request_id=senseless(rng), next_message_id=senseless(rng)),
                        senseless(rng), [senseless(rng)]]))
            except Exception as error:                       # the server may end what is senseless
                found[type(error).__name__] += 1
                break
        await guest.drop()
        await asyncio.sleep(0.2)
    return found


def senseless(rng: random.Random) -> str:
    """JSON of the wrong kind, or none at all."""
    some = [0, -1, 1e308, 12, "x", "a person walks", None, [], {}, True, "9" * 400, "../../etc/passwd", [0, 4],
            [-5, 10 ** 12], {"frame": 3}, {"value": "x", "label": "y"}, {"old_index": 0, "new_index": -7}]
    one, other = rng.choice(some), rng.choice(some)
    keys = rng.sample(["frame", "rate", "cut", "prompts", "value", "args", ""], 2)
    return rng.choice([
        json.dumps(dict(zip(keys, (one, other)))), json.dumps([one, other]), json.dumps({"frame": one, "rate": other}),
        json.dumps(one), json.dumps(one), json.dumps(one), "NaN", "[" * 190, "", "x" * 20_000,
        "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randrange(200)))])


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut off, with other bytes, or with a part twice."""
    some = bytearray(content[:rng.randrange(len(content))] if rng.random() < 0.3 else content)
    for _ in range(rng.randrange(1, 30)):
        if some:
            some[rng.randrange(len(some))] = rng.randrange(256)
    if rng.random() < 0.2:
        at = rng.randrange(len(some) + 1)
        some[at:at] = some[:at]
    return bytes(some)


def captures() -> dict[str, bytes]:
    """A second of standing in each format."""
    rotations = np.tile(np.eye(3), (FPS, len(JOINT_NAMES), 1, 1))
    joints = forward_kinematics(rotations, np.tile([0.0, 0.95, 0.0], (FPS, 1)))
    stretch = join(show_all(pose_to_motion272(rotations, joints).astype(np.float32)))
    return {kind: files.write_download(kind, stretch) for kind in KINDS}


def read(count: int, rng: random.Random) -> Counter:
    """Damaged captures, read as the page reads them: each is refused in a sentence, or is a motion."""
    whole, found = captures(), Counter()
    with tempfile.TemporaryDirectory() as folder, patch.object(tempfile, "tempdir", folder):
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            try:
                motion, *_ = files.read_upload({f"a.{kind}": damaged(whole[kind], rng)})
                assert motion.shape[1] == DIM and np.isfinite(motion).all(), f"of a damaged {kind}: {motion}"
                found["read"] += 1
            except ValueError:
                found["refused"] += 1
        check_empty(folder)
    return found


async def post(http: aiohttp.ClientSession, count: int, rng: random.Random) -> Counter:
    """Damaged captures sent to the server, as many at once as it takes."""
    whole, found = captures(), Counter()
    while found["sent"] < count:
        guest = await Guest.open(http)
        url, = re.findall(r'"url":"(/_nicegui/client/[^"]+)"', guest.html)
        for _ in range(min(count - found["sent"], 25)):
            kind = rng.choice(KINDS)
            form = aiohttp.FormData()
            for _ in range(rng.randrange(1, 4)):
                name = rng.choice(["../../a.", "a.", "/etc/", "C:\\", ""]) + kind
                form.add_field("file", damaged(whole[kind], rng), filename=name)
            async with http.post(url, data=form) as answer:
                found[answer.status] += 1
            found["sent"] += 1
        await guest.drop()
        await asyncio.sleep(0.5)
    return found


def main() -> None:
    config = parse({"robust": Robust()})
    before = content(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder                        # the server's: ours is found already
        with served(config.port, ["--minutes=120", "--people=2"]) as server:
            print(json.dumps(asyncio.run(use_badly(config, server.pid)), indent=2))
            assert server.poll() is None, "the server ended"
        check_empty(folder)
    if touched := sorted(set(before.items()) ^ set(content(ROOT).items())):
        raise ValueError(f"files of the repository changed: {touched[:5]}")


async def use_badly(config: Robust, pid: int) -> dict:
    """All of it, one after another, each beside a guest whose character walks on."""
    rng = random.Random(config.seed)
    async with aiohttp.ClientSession(f"http://localhost:{config.port}") as http:
        works = {"warm": lambda: sessions(http, WARM), "sessions": lambda: sessions(http, config.sessions),
                 "messages": lambda: messages(http, config.messages, rng),
                 "posts": lambda: post(http, config.uploads, rng),
                 "reads": lambda: asyncio.to_thread(read, config.uploads, rng)}
        found = {}
        for name, work in works.items():
            done, waited = await beside(http, work())
            await asyncio.sleep(GONE)
            found[name] = dict(done or {}, memory_mb=resident(pid), slowest_s=round(waited, 2))
            print(name, found[name], file=sys.stderr, flush=True)
        return found


Done = Counter | None


async def beside(http: aiohttp.ClientSession, work: Coroutine[Any, Any, Done]) -> tuple[Done, float]:
    """Do it while a good guest plays -> what it gives, and the guest's longest time without a frame to show."""
    good, ended = await Guest.open(http, PLAN), asyncio.Event()
    await good.hear(2)
    play = asyncio.create_task(good.play(ended))
    try:
        done = await work
    finally:
        ended.set()
    waited = await play
    await good.drop()
    return done, waited


def check_empty(folder: str) -> None:
    left = [path.name for path in Path(folder).iterdir() if not path.name.startswith("torchinductor")]
    if left:
        raise ValueError(f"left among the temporary files: {left[:5]}")


def resident(pid: int) -> float:
    """Megabytes of memory that a process has."""
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def content(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each of our files."""
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=folder, check=True,
                           capture_output=True, text=True).stdout.splitlines()
    found = {name: (folder / name).stat() for name in names if (folder / name).is_file()}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


if __name__ == "__main__":
    run(main)
