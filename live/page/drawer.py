"""The controls of a page."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from nicegui import ui

from generation.pipeline import MotionStreamer
from live.page.wishes import Wishes
from live.plan import RANGES, SEEDS, Settings
from motion.captures import Reading
from motion.formats.capture import TO_Y
from options.sampling import FORMULAE, STEPS


class Drawer:
    """How the next prompts of a page are sampled, with plain explanations; `settings` has it. `reading`: how captures
    are read."""

    def __init__(self, wishes: Wishes, settings: Settings):
        self.wishes, self.settings, self.reading = wishes, settings, Reading()
        model = self.model
        few = sorted(len(fitted.times) for fitted in model.calibration.fitted)
        with ui.element("div").classes("live-drawer") as self.element:
            with ui.element("div").classes("live-line"):
                ui.html("<h1>Controls</h1>", sanitize=False).classes("grow")
                ui.button(icon="close", on_click=self.toggle).props('flat dense round aria-label="close the controls"')
            self.slider("guidance", 0.25, "How closely",
                        "Guidance: how much the sentence counts. Too much looks stiff.")
            self.slider("temperature", 0.05, "How freely",
                        "Temperature: how much chance is in it. 0 is always the most likely motion.")
            self.say("How carefully", "Diffusion steps of a latent. More take longer; “fitted” was made for very few.")
            self.add_steps(few)
            self.slider("past", 1, "How much past", "Latents (four frames each) that a new prompt goes on from. Few: "
                        "it changes its mind faster. Many: smoother.")
            self.say("Seed", "The same seed, prompts and times give the same motion.")
            ui.number(value=settings.seed, min=0, max=SEEDS - 1, precision=0, on_change=lambda event:
                      self.change(seed=int(event.value or 0))).props("outlined dense")
            self.timing("lead", 0.1, 2.0, 0.4, "Lead",
                        "From the playhead to where a new prompt cuts in: time to make its first frames.")
            self.timing("ahead", 0.5, 10.0, 2.0, "Ahead",
                        "What may be made before it is played: what a slow moment can use up.")
            self.say("When a motion is over", "Go on with the same prompt, or stand until the next.")
            ui.toggle({True: "go on", False: "come to rest"}, value=settings.hold, on_change=lambda event:
                      self.change(hold=bool(event.value))).props("no-caps unelevated dense padding='4px 14px'")
            ui.label("All but lead and ahead hold from the next prompt on.").classes("live-hint")
            self.say("Uploads", "What is not found out rightly of a capture: the axis that points up, frames a second, "
                     "metres in its unit, the number of a frame in T-pose.")
            ui.select(["auto", *TO_Y], value="auto", label="up", on_change=lambda event: self.read(up=event.value)
                      ).props("outlined dense")
            for name, most, digits in (("fps", 10_000, 3), ("unit", 1000, 6), ("rest_frame", 10 ** 6, 0)):
                ui.number(label=name.replace("_", " "), min=0, max=most, precision=digits, on_change=partial(
                    self.read_number, name)).props("outlined dense clearable")
        self.element.visible = False

    def toggle(self) -> None:
        self.element.visible = not self.element.visible

    @property
    def model(self) -> MotionStreamer:
        return self.wishes.studio.model()

    def add_steps(self, few: Sequence[int]) -> None:
        """Diffusion steps, solver and precision."""
        settings, on_cpu = self.settings, self.model.device.type == "cpu"
        pairs = [(count, "fitted") for count in few]
        pairs += [(5, FORMULAE[2]), (10, FORMULAE[2]), (20, FORMULAE[1]), (STEPS, FORMULAE[0])]
        steps = {f"{count} steps, {solver}": (count, solver) for count, solver in pairs}
        now = f"{settings.sampling.steps} steps, {settings.sampling.solver}"
        ui.select(list(steps), value=now if now in steps else None, on_change=lambda event: self.change(
            **dict(zip(("steps", "solver"), steps.get(event.value, ()))))).props("outlined dense")
        precisions = dict.fromkeys(["float32", "int8" if on_cpu else "bfloat16", settings.precision])
        ui.select(list(precisions), value=settings.precision, label="precision",
                  on_change=lambda event: self.change(precision=event.value)).props("outlined dense")

    def say(self, title: str, why: str, value: object = "") -> ui.label:
        """A control's title and what it does -> the label of its value."""
        with ui.element("div").classes("live-head"):
            ui.html(f"<h2>{title}</h2>", sanitize=False)
            label = ui.label(str(value))
        ui.html(f"<p>{why}</p>", sanitize=False)
        return label

    def slider(self, name: str, step: float, title: str, why: str) -> None:
        (least, most), value = RANGES[name], getattr(self.settings.sampling, name)
        label = self.say(title, why, f"{value:g}")

        def change(event: Any) -> None:
            self.change(**{name: event.value})
            label.text = f"{getattr(self.settings.sampling, name):g}"

        ui.slider(min=least, max=most, step=step, value=value, on_change=change)

    def timing(self, name: str, least: float, most: float, value: float, title: str, why: str) -> None:
        label = self.say(title, why, f"{value:g} s")

        def change(event: Any) -> None:
            session, given = self.wishes.visit.session, event.value
            if session and isinstance(given, (int, float)) and least <= given <= most:
                self.wishes.studio.submit(lambda: setattr(session, name, float(given)))
                label.text = f"{given:g} s"

        ui.slider(min=least, max=most, step=0.1, value=value, on_change=change)

    def read_number(self, name: str, event: Any) -> None:
        value = event.value
        self.read(**{name: None if value is None else int(value) if name == "rest_frame" else float(value)})

    def read(self, **changes: Any) -> None:
        """How the next captures are read."""
        self.reading = replace(self.reading, **changes)

    def change(self, **changes: Any) -> None:
        """Settings of the next prompts; what cannot be is said, and changes nothing."""
        settings = self.settings
        own = {name: value for name, value in changes.items() if name in ("precision", "seed", "hold")}
        of_sampling = {name: value for name, value in changes.items() if name not in own}
        try:
            sampling = self.model.sampling_with(settings.sampling, of_sampling)
            self.settings = replace(settings, sampling=sampling, **own)
        except (ValueError, TypeError) as error:
            self.wishes.warn(str(error))
