"""Check a folder of numbers that were computed with the published MoSa: python -m tests.golden_mosa FOLDER

Sizes come from each file's config. Prints a line for each group of arrays with the worst error; exit status 1 if a
number disagrees, is missing, or was not looked at. tests/golden/README.md says what each array is.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from generation.scales import kept_codes, probabilities, sample_codes, sample_ids, smooth_weights
from models.mosa.losses import sar_loss, scale_losses, smooth_l1
from models.mosa.quantizer import Quantizer, perplexity, usage_percent
from models.mosa.transformer import ScaleTransformer
from models.published import (
    MOSA_TOKENIZER_NAMES, load_published_mosa_tokenizer, load_published_mosa_transformer, read_state,
)
from options.models import CAQ, SAR, Codes
from options.sampling import MoSaSampling
from utils.errors import run

TOLERANCES = {"sampled/probabilities_": 1e-4, "smooth/z_hat": 1e-3, "edit/smooth/z_hat": 1e-3}
WEIGHTS = ("w/", "tokenizer/")
Found = Iterator[tuple[str, Tensor | float]]      # name of an array, what we compute


class Golden:
    """One file: its sizes, its weights, and its numbers, of which it knows which were asked for."""

    def __init__(self, path: Path):
        if not path.is_file():
            raise FileNotFoundError(f"There is no {path}; expected the files mosa_*.npz: give their folder.")
        with np.load(path, allow_pickle=False) as file:
            self.config = json.loads(str(file["config"]))
            arrays = {name: torch.from_numpy(np.asarray(file[name])) for name in file if name != "config"}
        self.weights, self.quantizer_weights = ({name.removeprefix(kind): array for name, array in arrays.items()
                                                 if name.startswith(kind)} for kind in WEIGHTS)
        self.numbers = {name: array for name, array in arrays.items() if not name.startswith(WEIGHTS)}
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.asked.add(name)
        return self.numbers[name]

    def scales(self, name: str) -> list[Tensor]:
        """name_0, name_1, ... of all scales."""
        return [self[f"{name}_{q}"] for q in range(len(self.config["scales"]))]

    @property
    def caq(self) -> CAQ:
        """The tokenizer's config."""
        sizes = self.config
        codes = Codes(tuple(sizes["scales"]), sizes["nb_codes"][0], sizes["nb_codes"][-1], sizes["code_dim"])
        return CAQ(sizes["input_width"], codes, sizes["width"], tuple(sizes["width_mul"]), sizes["depth"],
                   phi_depth=sizes["phi_depth"], mu=sizes.get("mu", 0.99))


def named(name: str, values: list[Tensor]) -> Found:
    return ((f"{name}_{q}", value) for q, value in enumerate(values))


def quantizer_of(weights: dict[str, Tensor], config: CAQ, initialised: bool = True) -> Quantizer:
    state = {name.removeprefix("quantizer."): value.clone() for name, value in
             read_state(weights, "vq_model", MOSA_TOKENIZER_NAMES).items()
             if name.startswith("quantizer.") and not name.endswith("initted")}
    quantizer = Quantizer(config).eval()
    quantizer.load_state_dict(state | {"initialised": torch.tensor(initialised)})
    return quantizer


def sizes(golden: Golden) -> Found:
    """What follows from other sizes."""
    yield "config nb_codes", torch.tensor(golden.config["nb_codes"]) - torch.tensor(golden.caq.codes.nb_codes)
    yield "config max_motion_length", float(golden.config["max_motion_length"] - golden.caq.frames)


def tokenizer(golden: Golden) -> Found:
    with torch.no_grad():
        model = load_published_mosa_tokenizer({"vq_model": golden.weights}, golden.config["scales"])
        motion, places = golden["motion"], slice(*golden.config["position_slice"])
        reconstructed, found = model(motion, golden.config["commit_beta"])
        yield "config sizes", float(model.config != replace(golden.caq, mu=model.config.mu))
        yield "z", model.encode_normalised(motion)
        yield "decoded_from_z", model.decode_normalised(golden["z"])
        yield from named("ids", found.ids)
        yield "z_hat", found.latents
        yield "reconstructed", reconstructed
        position = smooth_l1(reconstructed[..., places], motion[..., places])
        losses = dict(rec=smooth_l1(reconstructed, motion), pos=position, commit=found.commit)
        yield from ((f"loss_{name}", value) for name, value in losses.items())
        yield "loss", losses["rec"] + 0.5 * losses["pos"] + 0.02 * losses["commit"]
        used, near = model.quantizer.used(found)
        yield "usage_percent", usage_percent(used)
        yield "perplexity", perplexity(near)
        yield "slot_padded_group0", model.pad(motion, golden["lengths"])


def quantizer(golden: Golden) -> Found:
    for kind in ("znorm", "l2"):
        quantizer = lookup(golden, kind)
        z = golden["z"].clone().requires_grad_()
        found = quantizer(z, golden.config["commit_beta"])
        used, near = quantizer.used(found)
        ((found.latents * golden["upstream"]).sum() + 100 * found.commit).backward()
        yield from named(f"{kind}/ids", found.ids)
        yield from named(f"{kind}/z_hat_after", found.sums)
        yield f"{kind}/z_hat", found.latents
        yield f"{kind}/commit", found.commit
        yield f"{kind}/usage_percent", usage_percent(used)
        yield f"{kind}/perplexity", perplexity(near)
        yield f"{kind}/grad_z", z.grad
        for q, phi in enumerate(quantizer.phis):
            yield f"{kind}/grad_phi_{q}_first_weight", phi[0][0].weight.grad
    with torch.no_grad():
        inputs, latents = quantizer.inputs(golden.scales("given_ids"))
    yield "t2m_input", inputs
    yield "z_hat_from_given_ids", latents


def lookup(golden: Golden, kind: str, initialised: bool = True) -> Quantizer:
    """The quantizer, by cosine or by distance."""
    return quantizer_of(golden.weights, replace(golden.caq, using_znorm=kind == "znorm"), initialised)


def state(prefix: str, quantizer: Quantizer) -> Found:
    for q, book in enumerate(quantizer.books):
        for name, value in (("codebook", book.codes), ("code_sum", book.sums), ("code_count", book.counts)):
            yield f"{prefix}/{name}_{q}", value.clone()


def averages(golden: Golden) -> Found:
    for kind in ("znorm", "l2"):
        quantizer = lookup(golden, kind).train()
        for step in (1, 2):
            quantizer(golden[f"ema/z_step{step}"])
            quantizer.update()
            yield from state(f"ema/{kind}/step{step}", quantizer)
    quantizer = lookup(golden, "znorm", initialised=False).train()
    found = quantizer(golden["ema/z_step1"])
    quantizer.update()
    yield from named("init/ids", found.ids)
    yield from state("init", quantizer)


def load_sar(golden: Golden) -> tuple[ScaleTransformer, Quantizer]:
    model = load_published_mosa_transformer({"t2m_transformer": golden.weights}, golden.config["n_heads"])
    return model, quantizer_of(golden.quantizer_weights, golden.caq)


@torch.no_grad()
def sar(golden: Golden) -> Found:
    model, quantizer = load_sar(golden)
    ids, lengths = golden.scales("ids"), golden["lengths"] // golden.caq.frames_per_code
    given = SAR(*(golden.config[name] for name in ("text_dim", "latent_dim", "n_heads", "n_layers", "ff_size")))
    yield "config sizes", float((model.config, model.codes) != (given, golden.caq.codes))
    for kind, given in (("", "ids"), ("corrupted_", "corrupted_ids"), ("no_text_", "ids")):
        text = golden["text"] * (kind != "no_text_")
        logits = model(quantizer.inputs(golden.scales(given))[0], text, lengths)
        losses, accuracies = scale_losses(logits, ids)
        yield from named(f"{kind}logits", logits)
        yield f"{kind}loss", sar_loss(losses)
        yield f"{kind}accuracy_per_scale", torch.stack(accuracies)
        yield f"{kind}accuracy", torch.stack(accuracies).mean()
    yield "attention_mask", (model.scale_of[:, None] >= model.scale_of).float()
    yield "rope_cos", model.rope[0, :, ::2]
    yield "rope_sin", model.rope[1, :, 1::2]


def generation(golden: Golden, networks: tuple[ScaleTransformer, Quantizer]) -> Found:
    model, quantizer = networks
    sampling = MoSaSampling(cond_scale=float(golden["cond_scale"]))
    lengths = golden["lengths"] // quantizer.config.frames_per_code

    def sample(pick: Callable, **options):
        return sample_codes(quantizer, model, golden["text"], lengths, pick, sampling, **options)

    def greedy(q: int, logits: Tensor, rho: float) -> Tensor:
        return logits.argmax(dim=-1)

    def smooth(q: int, logits: Tensor, rho: float) -> Tensor:
        return smooth_weights(logits, golden[f"smooth/gumbel_{q}"], rho)

    found = sample(greedy)
    yield from named("greedy/logits", found.logits)
    yield from named("greedy/ids", found.ids)
    yield "greedy/z_hat", found.latents
    yield from sampled(golden, sample, sampling)
    yield "smooth/z_hat", sample(smooth).latents
    for count in sorted({int(name.split("/")[1].removeprefix("scale").split("_")[0]) for name in golden.numbers
                         if name.startswith("preview/")}):
        for kind in ("short", "full"):
            found = sample(greedy, count=count, short=kind == "short")
            yield f"preview/scale{count}_{kind}/z_hat", found.latents
            yield from named(f"preview/scale{count}_{kind}/ids", found.ids)
    source, mask = golden.scales("edit/source_ids"), golden["edit/mask"]
    yield from named("edit/mask", [kept < 0 for kept in kept_codes(source, mask)])
    for kind, first in (("greedy", 0), ("keep_first2", 2)):
        found = sample(greedy, source=kept_codes(source, mask, first))
        yield from named(f"edit/{kind}/generated_ids", found.ids)
        yield f"edit/{kind}/z_hat", found.latents
    yield "edit/smooth/z_hat", sample(smooth, source=kept_codes(source, mask)).latents
    holes = golden.scales("edit/holes/source_ids")
    found = sample(greedy, source=holes)
    yield from named("edit/holes/ids", [torch.where(kept < 0, one, kept) for one, kept in zip(found.ids, holes)])
    yield "edit/holes/z_hat", found.latents


def sampled(golden: Golden, sample: Callable, sampling: MoSaSampling) -> Found:
    """By the filters, and by the uniform numbers given."""
    filters = sampling.but(**{name: float(golden[f"sampled/{name}"]) for name in ("top_k", "top_p", "temperature")})
    found = sample(lambda q, logits, rho: sample_ids(probabilities(logits, filters), golden[f"sampled/uniform_{q}"]))
    yield from named("sampled/logits", found.logits)
    yield from named("sampled/probabilities", [probabilities(logits, filters) for logits in found.logits])
    yield from named("sampled/ids", found.ids)
    yield "sampled/z_hat", found.latents
    rows = golden["filter/top_k_top_p_temperature"].tolist()
    yield "filter/probabilities", torch.stack([
        probabilities(golden["filter/logits"], sampling.but(top_k=top_k, top_p=top_p, temperature=temperature))
        for top_k, top_p, temperature in rows])


def error(name: str, found: Tensor | float, expected: Tensor) -> float:
    """The largest error, 1 being the tolerance; infinity for another shape, NaN, or ids that differ."""
    found = torch.as_tensor(found).detach()
    if found.shape != expected.shape:
        return float("inf")
    if not expected.is_floating_point():
        return 0.0 if torch.equal(found, expected) else float("inf")
    tolerance = next((value for start, value in TOLERANCES.items() if name.startswith(start)), 1e-5)
    largest = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    worst = float((found.double() - expected.double()).abs().max() / (tolerance * largest)) if expected.numel() else 0.0
    return worst if worst == worst else float("inf")


def group_of(name: str) -> str:
    """sampled/logits_3 -> sampled; ids_0 -> ids"""
    folder, _, array = name.rpartition("/")
    return folder or array.rstrip("0123456789").rstrip("_")


def check(folder: Path) -> bool:
    """Print a line for each group -> whether all agrees."""
    files = {name: Golden(folder / f"mosa_{name}.npz") for name in ("tokenizer", "quantizer", "sar", "generation")}
    parts = [("tokenizer", tokenizer), ("quantizer", quantizer), ("quantizer", averages), ("sar", sar),
             ("generation", lambda golden: generation(golden, load_sar(files["sar"])))]
    worst: dict[str, float] = {}
    for file, compute in [*((name, sizes) for name in files), *parts]:
        golden = files[file]
        for name, found in compute(golden):
            given = golden[name] if name in golden.numbers else None
            expected = torch.zeros_like(torch.as_tensor(found)) if name.startswith("config ") else given
            group = f"{file}: {group_of(name)}"
            found_error = float("inf") if expected is None else error(name, found, expected)
            worst[group] = max(worst.get(group, 0.0), found_error)
    for file, golden in files.items():
        for name in sorted(golden.numbers.keys() - golden.asked):
            worst[f"{file}: {name} is not known, so it was not checked"] = float("inf")
    for group, value in worst.items():
        print(f"{'ok  ' if value <= 1 else 'FAIL'}  {group:44} worst error {value:.2g} of the tolerance")
    return max(worst.values()) <= 1


def main() -> None:
    if len(sys.argv) != 2:
        raise ValueError("expected one folder: python -m tests.golden_mosa FOLDER")
    if not check(Path(sys.argv[1])):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
