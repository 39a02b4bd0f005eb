"""Encode a data set once for the AR models: latents of every clip, embeddings of every caption.

python get_latent.py --resume-pth output/tae_small/best --latent-dir data/latents --dataname mocap_272

Under `torchrun --nproc-per-node N` each rank encodes its share of the clips. What comes out does not depend on N.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from dataset.clips import Clip, load_clips, load_groups, with_statistics
from dataset.latents import map_latents
from dataset.texts import KINDS, Texts, known_texts, write_texts
from dataset.streams import load_pairs
from generation.fast import accelerate
from models.causal_tae import FRAMES_PER_LATENT, CausalTAE, sample_latents
from models.checkpoints import fingerprint, load_tae
from models.text_encoder import DEFAULT_TEXT_ENCODER, TextEncoder, default_dtype, weights_of
from motion.representation_272 import DIM
from options import opt, parse
from options.training import DATASETS, DEVICES
from utils.checkpoint import read_json, read_tensors, write_json, write_whole
from utils.distributed import distributed, gather, rank, wait_for_all, world_size
from utils.errors import run

SHORTEST = 40    # frames


@dataclass(frozen=True)
class GetLatent:
    """Encode a data set for train_t2m.py; what an earlier run made of the same is kept."""

    tae: str = opt("output/causal_tae/last", "TAE: a checkpoint folder, or the authors' net_last.pth",
                   flag="resume-pth")
    latent_dir: str = opt("humanml3d_272/t2m_latents", "where to write")
    dataname: str = opt("t2m_272", "data set", choices=DATASETS)
    data_root: str | None = opt(None, "folder that contains motion_data/; None: the published name, here")
    streams: str | None = opt(None, "folder of train_stream/ and val_stream/, whose pairs are encoded too")
    text_encoder: str = opt(DEFAULT_TEXT_ENCODER, "sentence-transformers name or folder")
    text: str = opt("vector", "what is kept of a caption: one vector, or the states of its tokens", choices=KINDS)
    batch_size: int = opt(32, "clips encoded at once")
    seed: int = opt(123, "of the latents' noise")
    device: str = opt("auto", "where to encode", choices=DEVICES)


@torch.no_grad()
def encode(tae: CausalTAE, motions: list[Tensor], noises: list[Tensor]) -> list[Tensor]:
    """Normalised motions (T_i, 272), noise (T_i/4, C) -> latents (T_i/4, C). Causal, so padding changes nothing."""
    device = tae.mean.device
    padded = torch.nn.utils.rnn.pad_sequence(motions, batch_first=True).to(device)
    mean, logvar = (moments.cpu() for moments in tae.encode_normalised(padded))
    return [sample_latents(mean[row, :len(noise)], logvar[row, :len(noise)], noise)
            for row, noise in enumerate(noises)]


def noise_of(clip: Clip, length: int, channels: int, seed: int) -> Tensor:
    """Standard normal (length, channels) that depends on seed and clip alone, not on order or batch."""
    digest = hashlib.sha256(f"{seed} {clip.id}".encode()).digest()
    return torch.randn(length, channels, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7])))


def encode_clips(tae: CausalTAE, clips: list[Clip], batch_size: int, seed: int) -> Iterator[tuple[Clip, Tensor]]:
    """This rank's share of the clips, each with its latents (T/4, C), in batches of like length.

    The batches, and so the last bits, are the same for any number of ranks.
    raises   ValueError naming a clip whose latents are not finite
    """
    clips = sorted(clips, key=lambda clip: len(clip.motion))
    mean, std = tae.mean.cpu(), tae.std.cpu()
    firsts = range(rank() * batch_size, len(clips), world_size() * batch_size)
    for first in tqdm(firsts, unit="batch", disable=rank() > 0):
        batch = clips[first:first + batch_size]
        lengths = [len(clip.motion) // FRAMES_PER_LATENT for clip in batch]
        motions = [(torch.tensor(clip.motion[:length * FRAMES_PER_LATENT]) - mean) / std
                   for clip, length in zip(batch, lengths)]
        noises = [noise_of(clip, length, tae.config.latent_dim, seed) for clip, length in zip(batch, lengths)]
        for clip, latents in zip(batch, encode(tae, motions, noises)):
            if not latents.isfinite().all():
                raise ValueError(f"the latents of {clip.id} are not finite: look at its motion, or use another TAE")
            yield clip, latents


def clips_by_split(config: GetLatent) -> tuple[dict[str, list[Clip]], dict[str, str]]:
    """The clips of train and val that are long enough, and all pairs for streams; and the kind of each, by its id.

    raises   ValueError if a clip is in both
    """
    clips, groups = {}, load_groups(config.dataname, config.data_root)
    for split in ("train", "val"):
        found = load_clips(config.dataname, config.data_root, split)
        clips[split] = [clip for clip in found if len(clip.motion) >= SHORTEST]
        if rank() == 0:
            print(f"{split}: {len(clips[split])} clips to encode; "
                  f"{len(found) - len(clips[split])} left out, being shorter than {SHORTEST} frames")
        if config.streams:
            pairs, kinds = load_pairs(config.streams, split)
            clips[split] += pairs
            groups |= kinds
    both = {clip.id for clip in clips["train"]} & {clip.id for clip in clips["val"]}
    if both:
        raise ValueError(f"{len(both)} clips are in train and in val, the first is {min(both)}: fix the split files")
    return clips, groups


def main():
    config = parse({"default": GetLatent()})
    if config.batch_size < 1:
        raise ValueError(f"--batch-size is {config.batch_size}; expected 1 or more.")
    with distributed(config.device) as device:
        encode_set(config, device)


def encode_set(config: GetLatent, device: torch.device) -> None:
    """Write the latent folder. Every rank encodes, the first does the rest."""
    data, folder = (config.dataname, config.data_root), Path(config.latent_dir)
    tae = with_statistics(load_tae(config.tae), *data)
    mean, std, made_by = tae.mean.numpy(), tae.std.numpy(), fingerprint(tae)
    accelerate(tae.to(device))
    end = encode(tae, [torch.zeros(FRAMES_PER_LATENT, DIM)], [torch.zeros(1, tae.config.latent_dim)])[0][0]   # (C,)

    clips, groups = clips_by_split(config)
    every = [clip for found in clips.values() for clip in found]
    texts = dict.fromkeys(["", *(caption.text for clip in every for caption in clip.captions)])
    number = {text: place for place, text in enumerate(texts)}    # the empty text comes first: guidance needs it
    places, last = {}, 0                                   # clip id -> its first row and one past its last
    for clip in every:
        first, last = last, last + len(clip.motion) // FRAMES_PER_LATENT + 1
        places[clip.id] = first, last
    made_of = dict(latents=digest(made_by, mean, std, config.seed,
                                  *(part for split, found in clips.items() for clip in found
                                    for part in (split, clip.id, clip.motion))),
                   encoder=digest(weights_of(config.text_encoder), default_dtype(config.text_encoder), config.text),
                   texts=digest(*number))
    kept = gather(earlier(folder, made_of, (last, len(end)), config.text))[0]
    text_encoder = None
    if rank() == 0:
        if "texts" not in kept:                            # loaded first, so that a wrong name fails early
            text_encoder = TextEncoder(config.text_encoder, device, tokens=config.text == "tokens")
        known = known_texts(folder, config.text) if "encoder" in kept and text_encoder else {}
        (folder / "index.json").unlink(missing_ok=True)    # what it says is no longer so; the new one comes last

    if "latents" not in kept:
        share = encode_clips(tae, every, config.batch_size, config.seed)
        with write_whole(part_of(folder, rank())) as path:
            save_file({clip.id: torch.cat([latents, end[None]]) for clip, latents in share}, path)
        wait_for_all()
    if rank() > 0:
        return
    if "latents" in kept:
        print(f"{len(every)} clips were encoded before")
        scale, nearest = kept["latents"]
    else:
        rows = join_parts(folder, places, len(end))
        train, val = (torch.cat([rows[slice(*places[clip.id])][:-1] for clip in clips[split]]) for split in clips)
        scale, nearest = float(train.std()), float((val - end).norm(dim=-1).min())
    if text_encoder is None:
        print(f"{len(number)} different captions were embedded before")
    else:
        print(f"embedding {len(number.keys() - known.keys())} of {len(number)} different captions with "
              f"{config.text_encoder}")
        write_texts(folder, config.text, list(number), text_encoder, known)

    write_json(folder / "index.json", dict(
        dataname=config.dataname, tae=made_by, text_encoder=config.text_encoder, text=config.text,
        end_latent=end.tolist(), latent_scale=scale,
        nearest=nearest, stop_threshold=nearest / 2,       # half-way to the nearest latent of real motion
        made_of=made_of,
        clips={clip.id: dict(split=split, group=groups.get(clip.id, ""), past=clip.past // FRAMES_PER_LATENT,
                             rows=places[clip.id], captions=[(number[caption.text], caption.start, caption.end)
                                                             for caption in clip.captions])
               for split, found in clips.items() for clip in found}))
    print(f"{len(every)} clips encoded into {folder}; the nearest real latent lies {nearest:.3f} from the end latent")


def part_of(folder: Path, rank: int) -> Path:
    """What a rank has encoded, until the first joins all parts: clip id -> latents (L, C), the end latent last."""
    return folder / f".part-{rank}.safetensors"


def join_parts(folder: Path, places: dict[str, tuple[int, int]], channels: int) -> Tensor:
    """Write latents.npy of the parts of all ranks -> its rows (N, C); remove all parts."""
    rows = torch.empty(max(last for _, last in places.values()), channels)
    for number in range(world_size()):
        for name, latents in read_tensors(part_of(folder, number)).items():
            rows[slice(*places[name])] = latents
    with write_whole(folder / "latents.npy") as path:
        np.save(path, rows.numpy())
    for part in folder.glob(part_of(folder, 0).name.replace("0", "*")):    # and those of a run that was killed
        part.unlink()
    return rows


def digest(*parts: object) -> str:
    """A hash of strings, numbers and arrays."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.tobytes() if isinstance(part, np.ndarray) else f"{part}\n".encode())
    return found.hexdigest()


def earlier(folder: Path, made_of: dict[str, str], shape: tuple[int, int],
            text: str) -> dict[str, tuple[float, float] | bool]:
    """What an earlier run left in `folder` and is still right and whole: "texts", all of them; "encoder", if those that
    it left are by the same; "latents", an array of `shape`, with their scale and the distance of the nearest from the
    end latent."""
    if not (folder / "index.json").is_file():
        return {}
    index, kept = read_json(folder / "index.json"), {}
    known = index.get("made_of", {})
    with suppress(ValueError, FileNotFoundError):
        Texts(folder, text)
        if known.get("encoder") == made_of["encoder"]:
            kept |= dict(encoder=True) | (dict(texts=True) if known["texts"] == made_of["texts"] else {})
    with suppress(ValueError, FileNotFoundError):
        found = map_latents(folder / "latents.npy", shape[1], remedy="")
        if known.get("latents") == made_of["latents"] and found.shape == shape and np.isfinite(found).all():
            kept["latents"] = index["latent_scale"], index["nearest"]
    return kept


if __name__ == "__main__":
    run(main)
