"""What the networks are. Stored in every checkpoint; only training scripts take these as flags."""

from dataclasses import dataclass, replace

from options import opt

STEPS = 50                                              # of the diffusion, in training; at most as many in sampling
FORMULAE = ("ancestral", "ddim", "dpm++")
SOLVERS = (*FORMULAE, "fitted")
PRECISIONS = ("float32", "bfloat16", "int8")
TOLERANCES = {"float32": 5e-6, "bfloat16": 0.02, "int8": 0.02}    # what rounding moves a latent by needs no more passes


@dataclass(frozen=True)
class TAE:
    """The causal temporal autoencoder. The defaults are the published 76.2 M network."""

    latent_dim: int = opt(16, "channels of one latent")
    width: int = opt(1024, "channels of every hidden layer")


@dataclass(frozen=True)
class AR:
    """The AR transformer and its diffusion head. The defaults are the published 86 M + 156 M network."""

    latent_dim: int = opt(16, "channels of one latent")
    text: str = opt("vector", "how the text encoder's output reaches the model: one vector a sentence as published, or "
                    "the states of its tokens, through a small transformer", choices=("vector", "tokens"))
    text_dim: int = opt(768, "channels of the text encoder")
    text_layers: int = opt(2, "layers of the transformer over token states")
    text_tokens: int = opt(64, "tokens of a prompt that are read, at most")
    text_positions: int = opt(1, "positions of the text before the latents: of tokens as many vectors are pooled")
    cross_every: int = opt(0, "each so manieth block looks at the token states by cross-attention; 0: none")
    width: int = opt(768, "channels of the transformer")
    layers: int = opt(12, "transformer blocks")
    heads: int = opt(12, "attention heads")
    context: int = opt(78, "positions the transformer sees: the text and latents")
    head_width: int = opt(1792, "channels of the diffusion head")
    head_depth: int = opt(9, "residual blocks of the diffusion head")
    text_everywhere: bool = opt(False, "add the text to every latent too; as published it is the first position only")
    prediction: str = opt("noise", "what the head's network predicts: the noise as published, or the velocity, which "
                          "stays accurate where the noise is nearly all there is", choices=("noise", "velocity"))

    def __post_init__(self):
        if self.text == "vector" and (self.text_positions != 1 or self.cross_every):
            raise ValueError(f"--text-positions {self.text_positions} --cross-every {self.cross_every} need token "
                             "states, found a vector: give --text tokens")
        if not 1 <= self.text_positions < self.context:
            raise ValueError(f"--text-positions is {self.text_positions}: expected 1 or more that leave room for "
                             f"latents in the context of {self.context}")

    def looks_at_text(self, block: int) -> bool:
        """Whether the block of this number, from 0, has cross-attention."""
        return self.cross_every > 0 and block % self.cross_every == self.cross_every - 1


@dataclass(frozen=True)
class Fitted:
    """A solver of K steps that `fit_solver.py` fitted to one AR model: at each the head predicts an x_0, and the next
    point is noise[k] times the start noise and a sum of all x_0 so far. The last point is the latent."""

    times: tuple[float, ...]        # (K,) where on the schedule the network believes to be, from STEPS - 1 down to 0
    noise: tuple[float, ...]        # (K,)
    starts: tuple[float, ...]       # K (K + 1) / 2 factors: one of the first point, two of the second ...
    guiding: tuple[float, ...]      # (K,) what the guidance beyond 1 is multiplied by

    def __post_init__(self):
        count = len(self.times)
        expected = count, count * (count + 1) // 2, count
        found = len(self.noise), len(self.starts), len(self.guiding)
        if found != expected or not count:
            raise ValueError(f"a fitted solver of {count} steps has {found} numbers for noise, starts and guiding: "
                             f"expected {expected}; fit it again: python fit_solver.py")


@dataclass(frozen=True)
class Sampling:
    """How latents are drawn and when a motion ends. Stored with the AR model; the defaults fit the authors' weights."""

    guidance: float = opt(4.0, "weight of the text against the empty text")
    temperature: float = opt(1.0, "factor of the diffusion's step noise")
    steps: int = opt(STEPS, "diffusion steps of a latent, 1 to 50")
    solver: str = opt("ancestral", "how they go: ancestral draws as in training; ddim and dpm++ follow the flow, for "
                      "fewer steps; fitted is the model's own, for very few")
    fitted: tuple[Fitted, ...] = opt((), "its own solvers, each for another number of steps")
    tolerance: float | None = opt(None, "how far, of a latent's size, steps that are worked on together may be from "
                                  "one after another; 0: one after another; None: what the precision bears")
    latent_scale: float = opt(1.0, "latents of the TAE are those of the AR model times this")
    stop_threshold: float = opt(0.1, "distance to the end latent, in the TAE's units, below which a motion ends")
    past: int = opt(77, "latents of the motion so far that a new prompt goes on from, at most")
    end_latent: tuple[float, ...] = opt(
        (-0.03545712, -0.11705846, -0.05517992, 0.00844862, 0.04809663, 0.00272764, 0.18799046, -0.02028011,
         0.01018141, 0.03007844, -0.03314216, -0.03098543, 0.02590478, 0.00261714, 0.01297793, -0.10481539),
        "the encoding of four all-zero normalised frames")

    def __post_init__(self):
        if self.past < 0:
            raise ValueError(f"a past of {self.past} latents: expected 0 or more")
        if not 1 <= self.steps <= STEPS:
            raise ValueError(f"{self.steps} diffusion steps: expected 1 to {STEPS}")
        if self.solver not in SOLVERS:
            raise ValueError(f"the solver {self.solver!r}: expected one of {', '.join(SOLVERS)}")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise ValueError(f"a tolerance of {self.tolerance}: expected 0 or more")


@dataclass(frozen=True)
class Drawing:
    """How a script draws motions; None: what is stored with the model."""

    guidance: float | None = opt(None, "weight of the text; None: what is stored with the model")
    temperature: float | None = opt(None, "factor of the noise; None: what is stored with the model")
    steps: int | None = opt(None, "diffusion steps of a latent, 1 to 50; None: what is stored with the model")
    solver: str | None = opt(None, "ancestral, as in training, ddim or dpm++, for few steps, or fitted, the model's own "
                             "for very few; None: what is stored", choices=SOLVERS)
    tolerance: float | None = opt(None, "how far steps that are worked on together may be from one after another; 0: "
                                  "one after another; None: what the precision bears")
    precision: str = opt("float32", "of the networks' products; int8 on CPUs only",
                         choices=PRECISIONS)

    def over(self, stored: Sampling) -> Sampling:
        """What is stored with a model, but for what is given here."""
        given = {name: getattr(self, name) for name in ("guidance", "temperature", "steps", "solver", "tolerance")}
        return replace(stored, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class EvaluatorModel:
    """The evaluator. The defaults are the published one."""

    text_backbone: str = opt("distilbert-base-uncased", "frozen BERT-like encoder: a name or a folder; "
                             "all-MiniLM-L6-v2 needs no download")
    text_dim: int = opt(768, "channels of the backbone's token states")
    latent_dim: int = opt(256, "channels of an embedding and of the transformers")
    feed_forward: int = opt(1024, "hidden channels of a transformer layer")
    layers: int = opt(4, "transformer layers of each network")
    heads: int = opt(4, "attention heads")
    dropout: float = opt(0.1, "share of the activations that training drops")
