"""Teach the AR model's text transformer what sentences say of motion, before it makes any.

python train_text.py --preset small --latent-dir data/latents
python train_t2m.py --preset small --latent-dir data/latents --resume-text output/text_small/last

A sentence costs this a twentieth of what its motion costs the AR model, so it reads far more of them. What it learns is
what a sentence alone tells of its clip's latents (`TextMoments`); TMR (arXiv 2305.00976) aligns the two likewise.
"""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from dataset.latents import NO_TEXT, LatentClips
from models.checkpoints import text_checkpoint
from models.text_transformer import TextTransformer
from models.transformer import StreamingTransformer
from options import opt, parse, to_json
from options.data import Data
from options.models import AR
from options.training import Training
from train_t2m import SMALL, TINY, TextMoments, check_latents, fixed_batches, start_text, with_noise
from utils.distributed import distributed
from utils.engine import fit, seed_step, to_device
from utils.errors import run


@dataclass(frozen=True)
class TrainText:
    """Train the text transformer alone."""

    model: AR = AR(text="tokens")
    training: Training = Training(exp_name="text", total_iter=10_000, batch_size=256, lr=1e-3, warmup=50,
                                  schedule="cosine", weight_decay=1e-4, clip=1.0, balance=0.35, eval_iter=100,
                                  save_iter=100)
    latent_dir: str = opt("humanml3d_272/t2m_latents", "latent folder that get_latent.py made with --text tokens")
    start: str | None = opt(None, "text transformer to start from, of the same sizes: a checkpoint folder",
                            flag="resume-text")
    text_noise: float = opt(0.15, "deviation of the noise added to the states, so that new wordings stay near old")
    gain: float = opt(0.8, "the first weights' deviation times the root of their inputs")


PRESETS = {
    "full": TrainText(),
    "small": TrainText(SMALL, Training(
        Data("mocap_272"), exp_name="text_small", total_iter=1000, batch_size=256, lr=1e-3, warmup=50,
        schedule="cosine", weight_decay=1e-4, clip=1.0, balance=0.35, eval_iter=100, save_iter=100, print_iter=50)),
    "tiny": TrainText(replace(TINY, text="tokens"), Training(
        Data("mocap_272"), exp_name="text_tiny", total_iter=20, batch_size=4, lr=1e-3, warmup=1, eval_iter=10,
        save_iter=10, print_iter=5)),
}


class TextObjective(nn.Module):
    """The text transformer and the linear layer that predicts the latents' moments."""

    def __init__(self, config: TrainText, text_encoder: str, empty: Tensor):
        super().__init__()
        self.config, self.text_encoder = config, text_encoder
        self.text: TextTransformer = StreamingTransformer(config.model, config.gain).text    # pyright: ignore
        self.moments = TextMoments(config.model.width, config.model.latent_dim)
        self.register_buffer("empty", empty, persistent=False)                            # (N, D)

    def forward(self, batch: dict[str, Tensor], step: int = 0) -> dict[str, Tensor]:
        """batch: as LatentClips collates them."""
        text = batch["text"]
        if self.training:
            text = with_noise(text, self.config.text_noise, self.empty)
        pooled = self.text(text)[1][:, 0]                                                 # (B, D)
        return dict(loss=self.moments(pooled, batch["latents"], batch["lengths"], batch["past"]))

    def checkpoint(self):
        return text_checkpoint(self.text, self.config.model, self.text_encoder)


def main():
    config = parse(PRESETS)
    if config.model.text != "tokens":
        raise ValueError(f"--text {config.model.text} has no text transformer: give --text tokens")
    with distributed(config.training.device) as device:
        seed_step(config.training.seed)
        longest = config.model.context - config.model.text_positions + 1
        train, val = (LatentClips(config.latent_dir, split, longest, balance=balance)
                      for split, balance in (("train", config.training.balance), ("val", 0.0)))
        check_latents(train, config.model, config.training.data.name)
        text_encoder = train.index["text_encoder"]
        objective = TextObjective(config, text_encoder, train.texts[NO_TEXT])
        if config.start:
            start_text(objective.text, config.start, text_encoder)
        objective.to(device)
        batches = list(fixed_batches(val, config.training.batch_size, config.training.seed))

        def evaluate(step: int) -> dict[str, float | bytes]:
            losses = [float(objective(to_device(batch, device), step)["loss"]) for batch in batches]
            return dict(loss=sum(losses) / len(losses))

        fit(objective, train, config.training, to_json(config), evaluate, best="loss")


if __name__ == "__main__":
    run(main)
