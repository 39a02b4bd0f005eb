"""The controls of a page."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from nicegui import ui

from live.plan import RANGES, SEEDS, Settings
from live.visits import Visit
from options.sampling import FORMULAE, STEPS


class Drawer:
    """How the next prompts of a visit are sampled, with plain explanations; `settings` has it.

    warn  says what cannot be
    """

    def __init__(self, visit: Visit, settings: Settings, warn: Callable[[str], object]):
        self.visit, self.settings, self.warn = visit, settings, warn
        model = self.model
        few = sorted(len(fitted.times) for fitted in model.calibration.fitted)
        with ui.right_drawer(value=False).props("overlay width=348").classes("live-drawer") as self.element:
            self.say("How closely", "Guidance: how much the sentence counts. Too much looks stiff.")
            self.slider("guidance", 0.25)
            self.say("How freely", "Temperature: how much chance is in it. 0 is always the most likely motion.")
            self.slider("temperature", 0.05)
            self.say("How carefully", "Diffusion steps of a latent. More take longer; “fitted” was made for very few.")
            self.add_steps(few)
            self.say("How much past", "Latents (four frames each) that a new prompt goes on from. Few: it changes its "
                     "mind faster. Many: smoother.")
            self.slider("past", 1)
            self.say("Seed", "The same seed, prompts and times give the same motion.")
            ui.number(value=settings.seed, min=0, max=SEEDS - 1, precision=0, on_change=lambda event:
                      self.change(seed=int(event.value or 0))).props("outlined dense").classes("w-full")
            self.say("Lead", "Seconds from the playhead to where a new prompt cuts in: time to make its first frames.")
            self.timing("lead", 0.1, 2.0, 0.4)
            self.say("Ahead", "Seconds that may be made before they are played: what a slow moment can use up.")
            self.timing("ahead", 0.5, 10.0, 2.0)
            self.say("When a motion is over", "Go on with the same prompt, or stand until the next.")
            ui.toggle({True: "go on", False: "come to rest"}, value=settings.hold, on_change=lambda event:
                      self.change(hold=bool(event.value))).props("no-caps unelevated dense padding='4px 14px'")
            ui.label("All but lead and ahead hold from the next prompt on.").classes("live-hint q-mt-md")

    @property
    def model(self):
        return self.visit.visits.studio.model()

    def add_steps(self, few: Sequence[int]) -> None:
        """Diffusion steps, solver and precision."""
        settings, on_cpu = self.settings, self.model.device.type == "cpu"
        pairs = [(count, "fitted") for count in few]
        pairs += [(5, FORMULAE[2]), (10, FORMULAE[2]), (20, FORMULAE[1]), (STEPS, FORMULAE[0])]
        steps = {f"{count} steps, {solver}": (count, solver) for count, solver in pairs}
        now = f"{settings.sampling.steps} steps, {settings.sampling.solver}"
        ui.select(list(steps), value=now if now in steps else None, on_change=lambda event: self.change(
            **dict(zip(("steps", "solver"), steps.get(event.value, ()))))).props("outlined dense").classes("w-full")
        precisions = dict.fromkeys(["float32", "int8" if on_cpu else "bfloat16", settings.precision])
        ui.select(list(precisions), value=settings.precision, label="precision",
                  on_change=lambda event: self.change(precision=event.value)).props("outlined dense").classes("w-full")

    def say(self, title: str, why: str) -> None:
        ui.html(f"<h2>{title}</h2><p>{why}</p>", sanitize=False)

    def slider(self, name: str, step: float) -> None:
        least, most = RANGES[name]
        ui.slider(min=least, max=most, step=step, value=getattr(self.settings.sampling, name),
                  on_change=lambda event: self.change(**{name: event.value})).props("label")

    def timing(self, name: str, least: float, most: float, value: float) -> None:
        def change(event: Any) -> None:
            session, given = self.visit.session, event.value
            if session and isinstance(given, (int, float)) and least <= given <= most:
                self.visit.visits.studio.submit(lambda: setattr(session, name, float(given)))

        ui.slider(min=least, max=most, step=0.1, value=value, on_change=change).props("label")

    def change(self, **changes: Any) -> None:
        """Settings of the next prompts; what cannot be is said, and changes nothing."""
        settings = self.settings
        own = {name: value for name, value in changes.items() if name in ("precision", "seed", "hold")}
        of_sampling = {name: value for name, value in changes.items() if name not in own}
        try:
            sampling = self.model.sampling_with(settings.sampling, of_sampling)
            self.settings = replace(settings, sampling=sampling, **own)
        except (ValueError, TypeError) as error:
            self.warn(str(error))
