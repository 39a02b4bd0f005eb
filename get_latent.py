"""Encode a data set once for the AR models: latents of every clip, embeddings of every caption.

python get_latent.py --resume-pth output/tae_small/best --latent-dir data/latents --dataname mocap_272

Under `torchrun --nproc-per-node N` each rank encodes its share of the clips. What comes out does not depend on N. A run
that was interrupted goes on when the command is repeated.
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from dataset.clips import Clip, load_clips, load_kinds, long_enough, with_statistics
from dataset.latent_folder import KINDS, Entry, Kept, LatentFolder, digest, places_of
from dataset.pairs import load_pairs
from generation.fast import accelerate
from models.causal_tae import FRAMES_PER_LATENT, CausalTAE, sample_latents
from models.checkpoints import fingerprint, load_tae
from models.text_encoder import DEFAULT_TEXT_ENCODER, TextEncoder, default_dtype, weights_of
from motion.representation_272 import DIM
from options import opt, parse
from options.data import Data272
from options.training import DEVICES
from utils.distributed import distributed, gather, rank, wait_for_all, world_size
from utils.errors import run

SHORTEST = 40    # frames


@dataclass(frozen=True)
class GetLatent:
    """Encode a data set for train_t2m.py; what an earlier run made of the same is kept."""

    tae: str = opt("output/causal_tae/last", "TAE: a checkpoint folder, or the authors' net_last.pth",
                   flag="resume-pth")
    latent_dir: str = opt("humanml3d_272/t2m_latents", "where to write")
    data: Data272 = Data272()
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
    own = int.from_bytes(hashlib.sha256(f"{seed} {clip.id}".encode()).digest()[:7])
    return torch.randn(length, channels, generator=torch.Generator().manual_seed(own))


def encode_clips(tae: CausalTAE, clips: list[Clip], batch_size: int, seed: int,
                 done: Collection[str] = ()) -> Iterator[tuple[Clip, Tensor]]:
    """This rank's share of the clips, each with its latents (T/4, C), in batches of like length.

    The batches, and so the last bits, are the same for any number of ranks. Those of clips that are all `done`, which
    are ids, are left out.
    raises   ValueError naming a clip whose latents are not finite
    """
    clips = sorted(clips, key=lambda clip: len(clip.motion))
    mean, std = tae.mean.cpu(), tae.std.cpu()
    batches = [clips[first:first + batch_size] for first in range(0, len(clips), batch_size)]
    batches = [batch for batch in batches if not all(clip.id in done for clip in batch)]
    for batch in tqdm(batches[rank()::world_size()], unit="batch", disable=rank() > 0 or not batches):
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
    clips, groups = {}, load_kinds(config.data)
    for split in ("train", "val"):
        found = load_clips(config.data, split)
        clips[split] = long_enough(found, SHORTEST, split)
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
    folder, tae = LatentFolder(config.latent_dir), with_statistics(load_tae(config.tae), config.data)
    made_by = fingerprint(tae)
    accelerate(tae.to(device))
    end = encode(tae, [torch.zeros(FRAMES_PER_LATENT, DIM)], [torch.zeros(1, tae.config.latent_dim)])[0][0]   # (C,)

    clips, groups = clips_by_split(config)
    every = [clip for found in clips.values() for clip in found]
    texts = dict.fromkeys(["", *(caption.text for clip in every for caption in clip.captions)])
    number = {text: place for place, text in enumerate(texts)}    # the empty text comes first: guidance needs it
    places = places_of({clip.id: len(clip.motion) // FRAMES_PER_LATENT for clip in every})
    made_of = digests(config, tae, made_by, clips, texts)
    batches = digest(made_of["latents"], config.batch_size)
    kept, text_encoder, done = Kept(), None, set()
    if rank() == 0:
        folder.resume()
        kept = folder.kept(made_of, places, len(end), config.text)
        if not kept.texts:                                 # loaded first, so that a wrong name fails early
            text_encoder = TextEncoder(config.text_encoder, device, tokens=config.text == "tokens")
        done = set(places) if kept.latents else folder.clips_in_parts(batches)
        if done:
            print(f"{len(done)} of {len(every)} clips were encoded before")
    encoded = encode_clips(tae, every, config.batch_size, config.seed, done=gather(done)[0])
    folder.add_latents(batches, ((clip.id, latents) for clip, latents in encoded))
    wait_for_all()
    if rank() > 0:
        return
    if kept.latents:
        scale, nearest = kept.latents
    else:
        rows = folder.join_latents(batches, places, end)
        train, val = (torch.cat([rows[slice(*places[clip.id])][:-1] for clip in clips[split]]) for split in clips)
        scale, nearest = float(train.std()), float((val - end).norm(dim=-1).min())
    if text_encoder is None:
        print(f"{len(number)} different captions were embedded before")
    else:
        print(f"embedding {len(number.keys() - kept.known.keys())} of {len(number)} different captions with "
              f"{config.text_encoder}")
        folder.write_texts(config.text, list(number), text_encoder, made_of["encoder"], kept.known)
    about = dict(
        dataname=config.data.name, tae=made_by, text_encoder=config.text_encoder, text=config.text,
        end_latent=end.tolist(), latent_scale=scale,
        nearest=nearest, stop_threshold=nearest / 2,       # half-way to the nearest latent of real motion
        made_of=made_of)
    folder.finish(about, {
        clip.id: Entry(split=split, group=groups.get(clip.id, ""), past=clip.past // FRAMES_PER_LATENT,
                       rows=places[clip.id], captions=[(number[caption.text], caption.start, caption.end)
                                                       for caption in clip.captions])
        for split, found in clips.items() for clip in found})
    print(f"{len(every)} clips encoded into {folder.path}; the nearest real latent lies {nearest:.3f} from the end "
          "latent")


def digests(config: GetLatent, tae: CausalTAE, made_by: str, clips: dict[str, list[Clip]],
            texts: Collection[str]) -> dict[str, str]:
    """What tells the latents, the text encoder and the texts from others."""
    motions = (part for split, found in clips.items() for clip in found for part in (split, clip.id, clip.motion))
    mean, std = (statistic.cpu().numpy() for statistic in (tae.mean, tae.std))
    return dict(latents=digest(made_by, mean, std, config.seed, *motions),
                encoder=digest(weights_of(config.text_encoder), default_dtype(config.text_encoder), config.text),
                texts=digest(*texts))


if __name__ == "__main__":
    run(main)
