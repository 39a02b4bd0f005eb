"""Start the page: the studio, the guard before it, and NiceGUI's server until Ctrl-C."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from socket import gethostname
from typing import Any

from nicegui import app, ui

from generation.mosa import MoSa
from generation.pipeline import MotionStreamer
from live import files, page
from live.edits import Editor
from live.guard import LOCAL, Guard
from live.plan import Settings
from live.studio import Studio
from live.visits import Visits
from models.causal_tae import FRAMES_PER_LATENT
from motion.representation_272 import FPS
from options.sampling import Sampling

ENDING = 3          # seconds that uploads and downloads under way have after Ctrl-C
RECONNECT = 10.0    # seconds for which NiceGUI keeps the elements of a page that is silent; the seat goes sooner


def start(load: Callable[[str], MotionStreamer], sampling: Callable[[MotionStreamer], Sampling], config: Any,
          local: bool, token: str | None) -> None:
    """Serve until Ctrl-C. `config` as in `demo_live.DemoLive`; `local`: for this machine alone."""
    mosa = MoSa.from_pretrained(config.mosa, config.chosen.compute.device) if config.mosa else None
    precision = config.chosen.compute.precision
    studio = Studio(load, config.people, precision, longest=int(config.minutes * 60 * FPS / FRAMES_PER_LATENT))
    model = studio.model()
    settings = Settings(sampling(model), precision)
    warm_up(model, settings)
    threading.Thread(target=warm_worker, daemon=True).start()
    visits = Visits(studio, most=max(64, 4 * config.people))
    page.serve(visits, settings, config.style, Editor(mosa, studio.model) if mosa else None)
    app.add_middleware(Guard, hosts=LOCAL if local else (), token=token)
    app.on_shutdown(visits.close)
    app.on_shutdown(studio.close)
    name = "localhost" if local else gethostname() if config.host in ("0.0.0.0", "::") else config.host
    address = f"http://{name}:{config.port}/" + (f"?token={token}" if token else "")
    app.on_startup(lambda: print(f"Open {address}  (Ctrl-C ends it)", flush=True))
    ui.run(host=config.host, port=config.port, title="Type, and the character obeys", reload=False, tailwind=False,
           show=f"/?token={token}" if config.show and token else config.show, show_welcome_message=False,
           reconnect_timeout=RECONNECT, message_history_length=200, ws_max_size=2 ** 20, favicon="🚶",
           timeout_graceful_shutdown=ENDING)


def warm_up(model: MotionStreamer, settings: Settings) -> None:
    """The first sentence and the first latents take longer than all others."""
    model.text_encoder.load()
    stream = model.stream("a person stands", hold=True, sampling=settings.sampling)
    for _ in range(3):
        next(stream)


def warm_worker() -> None:
    """Start the process that others are forked from: it imports for seconds."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with suppress(ValueError):
        files.in_worker(len, (), seconds=120.0)
