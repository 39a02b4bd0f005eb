"""What the networks are. Stored in every checkpoint; only training scripts take these as flags."""

from dataclasses import dataclass

from options import opt


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
    cross_every: int = opt(0, "of so many blocks the last attends to the token states (cross-attention); 0: none")
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

    def attends_to_text(self, block: int) -> bool:
        """Whether the block of this number, from 0, has cross-attention."""
        return self.cross_every > 0 and block % self.cross_every == self.cross_every - 1


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


@dataclass(frozen=True)
class Codes:
    """The codes of MoSa, which its tokenizer and its transformer share. The defaults are for 300 frames at 30 fps."""

    scales: tuple[int, ...] = opt((5, 9, 15, 23, 31, 38, 46, 55, 64, 75), "positions of each scale, coarse to fine; "
                                  "the last is the number of latents: the frames of the longest motion / 4")
    nb_code_st: int = opt(256, "codes of the coarsest scale")
    nb_code_ed: int = opt(768, "codes of the finest scale; those between grow evenly")
    code_dim: int = opt(512, "channels of a code")
    shared_codebook: bool = opt(False, "one codebook of nb_code_ed codes for all scales")

    def __post_init__(self):
        if not self.scales or self.scales[0] < 1 or any(a >= b for a, b in zip(self.scales, self.scales[1:])):
            raise ValueError(f"--scales {' '.join(map(str, self.scales))}: expected positions of 1 or more that grow, "
                             "such as 5 9 15")
        if min(self.nb_code_st, self.nb_code_ed) < 2:
            raise ValueError(f"--nb-code-st {self.nb_code_st} --nb-code-ed {self.nb_code_ed}: expected 2 codes or more")

    @property
    def nb_codes(self) -> tuple[int, ...]:
        """Codes V_q of each scale, from the first to the last in even steps, rounded half to even."""
        if self.shared_codebook or len(self.scales) == 1:
            return (self.nb_code_ed,) * len(self.scales)
        first, step = self.nb_code_st, (self.nb_code_ed - self.nb_code_st) / (len(self.scales) - 1)
        return tuple(round(first + step * q) for q in range(len(self.scales)))

    @property
    def latents(self) -> int:
        """T, latents of every motion, padding included."""
        return self.scales[-1]


@dataclass(frozen=True)
class CAQ:
    """MoSa's tokenizer. The defaults are the published 34.5 M network, but for 272 channels and 300 frames."""

    channels: int = opt(272, "channels of a motion: 272, or 263 as of HumanML3D")
    codes: Codes = Codes()
    width: int = opt(256, "channels of the convolutions, times width_mul")
    width_mul: tuple[int, ...] = opt((1, 2, 1), "factor of the width on each level; between two the frames halve")
    depth: int = opt(2, "residual blocks of a level")
    phi_k: int = opt(3, "kernel of the convolutions that a scale's codes go through")
    phi_depth: int = opt(2, "how many these are")
    phi_relu: bool = opt(True, "ReLU after the last of these too, as published, so that no scale can subtract")
    using_znorm: bool = opt(True, "find codes by the cosine; else by the distance")
    mu: float = opt(0.99, "decay of the codebooks' moving averages")
    ema_of: str = opt("full", "what a codebook averages: full, the latents' residuals as published; or scale, what it "
                      "encodes, the residuals averaged to its scale", choices=("full", "scale"))
    dead_codes: str = opt("first", "what takes the place of codes that nothing is near: the first residuals of the "
                          "batch, as published, or random ones", choices=("first", "random"))
    feat_bias: float = opt(5.0, "the root's channels weigh so many times as much as their deviation")

    def __post_init__(self):
        if self.width % 4:
            raise ValueError(f"--width is {self.width}: expected a multiple of 4, for four groups of channels")

    @property
    def frames_per_code(self) -> int:
        """Frames of one latent."""
        return 2 ** (len(self.width_mul) - 1)

    @property
    def frames(self) -> int:
        """Frames of the longest motion, to which all are padded."""
        return self.codes.latents * self.frames_per_code


@dataclass(frozen=True)
class SAR:
    """MoSa's scale-wise autoregressive transformer. The defaults are the published 18.9 M network."""

    text_dim: int = opt(512, "channels of the text encoder's token states")
    latent_dim: int = opt(384, "channels of the transformer")
    n_heads: int = opt(6, "attention heads")
    n_layers: int = opt(8, "transformer blocks")
    ff_size: int = opt(768, "hidden channels of a block's MLP")
    dropout: float = opt(0.2, "share of the attention weights, and of the layers' outputs, that training drops")

    def __post_init__(self):
        if self.latent_dim % (2 * self.n_heads):
            raise ValueError(f"--latent-dim {self.latent_dim} cannot be cut into {self.n_heads} heads of even size: "
                             "give --n-heads")
