"""A page where one types and the character obeys: in the browser, on this machine.

python demo_live.py
python demo_live.py --host 0.0.0.0 --people 2       # for others too: with the token that it prints
"""

import importlib.util
import secrets
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from demo_t2m import Chosen, load_model
from generation.pipeline import MotionStreamer
from motion.formats.export import Style
from options import opt, parse
from options.sampling import Sampling
from utils.errors import run

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FEW = ((4, "fitted"), (10, "dpm++"))    # steps and solver of a page, the first that the model has


@dataclass(frozen=True)
class DemoLive:
    """Serve the page until Ctrl-C."""

    host: str = opt("127.0.0.1", "address to listen at; another one than this machine's own needs a token")
    port: int = opt(8123, "port to listen at")
    token: str | None = opt(None, "what the page's address has to end in; None: none at home, a new one elsewhere")
    people: int = opt(4, "characters that move at once; who comes later waits for a place")
    minutes: float = opt(10.0, "of motion that one page keeps")
    mosa: Path | None = opt(None, "folder of MoSa's tokenizer/ and transformer/: makes whole clips and edits, too")
    show: bool = opt(True, "open the page in the browser")
    style: Style = Style()
    chosen: Chosen = Chosen()


def main() -> None:
    config = parse({"default": DemoLive()}, show=False)
    if config.people < 1 or not 0 < config.minutes <= 120:
        raise ValueError(f"--people {config.people} --minutes {config.minutes}: expected 1 or more, and up to 120.")
    if importlib.util.find_spec("nicegui") is None:
        raise ValueError("The page needs NiceGUI, which is not installed: bash scripts/live.sh installs it and starts.")
    check_port(config.host, config.port)
    config.style.check()
    from live.page.server import start    # NiceGUI is slow to import, and not needed for --help

    load = loader(config.chosen)
    print("Loading the model ...", flush=True)
    local = config.host in LOOPBACK
    token = config.token or (None if local else secrets.token_urlsafe(12))
    with suppress(KeyboardInterrupt):     # Ctrl-C ends it
        start(load, lambda model: page_sampling(model, config.chosen), config, local, token)


def check_port(host: str, port: int) -> None:
    """ValueError if nobody can listen there, before the model is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as test:
            test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            test.bind(address)
    except (OSError, OverflowError) as error:
        raise ValueError(f"--host {host} --port {port} cannot be listened at ({error}): give another --port.") from None


def loader(chosen: Chosen):
    """precision -> model; all share one text encoder, which keeps nothing on disk: it may be others' sentences."""
    loaded: list[MotionStreamer] = []
    lock = threading.Lock()

    def load(precision: str) -> MotionStreamer:
        with lock:
            model = load_model(replace(chosen, compute=replace(chosen.compute, precision=precision)))
            if loaded:
                model.text_encoder = loaded[0].text_encoder
            model.text_encoder.on_disk = False
            loaded.append(model)
            return model

    return load


def page_sampling(model: MotionStreamer, chosen: Chosen) -> Sampling:
    """What is stored with the model, but with few steps, unless the command line says how."""
    if chosen.sampling.steps is None and chosen.sampling.solver is None:
        for steps, solver in FEW:
            try:
                return model.sampling_with(None, dict(steps=steps, solver=solver))
            except ValueError:    # the model has no solver of so few steps
                continue
    return model.sampling


if __name__ == "__main__":
    run(main)
