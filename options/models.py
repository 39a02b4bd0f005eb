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
