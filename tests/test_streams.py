"""Motion as a stream: the same as whole, whatever its neighbours do; prompts, ends and stops at any time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest
import torch

from generation.pipeline import MotionStream
from generation.streams import LatentStreams
from motion.representation_272 import Motion272Decoder, motion272_to_positions
from test_pipeline import ALWAYS, GUIDED, MEAN, NEVER, STD, assert_same, replace, streamer


def pull(stream: MotionStream, count: int) -> np.ndarray:
    """The next `count` pulls as one motion (4 * count, 272)."""
    return np.concatenate(list(islice(stream, count)))


@pytest.mark.parametrize("calibration", [NEVER, ALWAYS])
def test_a_held_stream_equals_a_motion_of_given_length(calibration):
    """In pieces of four frames; also beyond the context of 11 latents."""
    model = streamer(calibration)
    pieces = list(islice(model.stream("walk", seed=7, hold=True), 30))
    assert {piece.shape for piece in pieces} == {(4, 272)} and pieces[0].dtype == np.float32
    assert_same(np.concatenate(pieces), model.generate("walk", seed=7, length=120))


def test_a_stream_equals_a_whole_decode_of_its_latents():
    model, found = streamer(), []
    step = model.ar.head.sample
    model.ar.head.sample = lambda *arguments, **named: found.append(step(*arguments, **named)) or found[-1]
    motion = pull(model.stream("walk", hold=True), 20)
    assert_same(motion, model.decode(torch.stack(found, dim=1))[0].numpy())


def test_a_stream_ends_by_itself_as_the_motion_does():
    latents = torch.stack(streamer().sample_latents(["walk"], [0], [None], GUIDED))[0] * NEVER.latent_scale
    nearest = float((latents[:6] - latents[6]).norm(dim=-1).min())
    model = streamer(replace(NEVER, end_latent=tuple(latents[6].tolist()), stop_threshold=0.9 * nearest))
    stream = model.stream("walk")
    assert not stream.at_rest
    motion = np.concatenate(list(stream))
    assert len(motion) == 24 and stream.at_rest and list(stream) == []
    assert_same(motion, model.generate("walk"))


def test_a_stream_does_not_depend_on_its_neighbours():
    """Which start later, change their prompts, stop, and go on."""
    model, alone = streamer(), {}
    for seed, text in enumerate(["walk", "jump", "wave"]):
        alone[seed] = pull(model.stream(text, seed), 16)
    streams, found = model.streams(), {}

    def step(count: int) -> None:
        for frames in islice(streams, count):
            for stream, piece in frames.items():
                found.setdefault(stream, []).append(piece)

    first, second = streams.start("walk", 0), streams.start("jump", 1)
    step(3)
    third = streams.start("wave", 2)
    step(2)
    second.prompt("sit")
    step(1)
    second.stop()
    step(4)
    second.prompt("walk")
    step(6)
    for stream, seed in ((first, 0), (third, 2)):
        motion = np.concatenate(found[stream])
        assert_same(motion, alone[seed][:len(motion)])
    assert [len(found[stream]) for stream in (first, second, third)] == [16, 12, 13]
    assert_same(np.concatenate(found[second][:5]), alone[1][:20])
    with pytest.raises(ValueError, match="moves beside 2 others: pull them together"):
        next(first)


def test_a_pause_changes_nothing_but_when():
    """Of the stream, or of its neighbour; and a prompt ends it."""
    model = streamer()
    alone = [pull(model.stream("walk", 0), 9), pull(model.stream("jump", 1), 6)]
    streams, found = model.streams(), {}
    first, second = streams.start("walk", 0), streams.start("jump", 1)
    for number in range(9):
        if number == 2:
            second.pause(), second.pause()
            assert second.at_rest and not first.at_rest
        elif number == 5:
            second.resume(), second.resume()
        for stream, piece in next(streams).items():
            found.setdefault(stream, []).append(piece)
    assert_same(np.concatenate(found[first]), alone[0])
    assert_same(np.concatenate(found[second]), alone[1])
    first.stop(), second.pause(), second.prompt("sit")
    assert not second.at_rest and next(second).shape == (4, 272)
    second.pause(), second.stop(), second.resume()
    assert second.at_rest


def test_latents_are_as_good_a_past_as_the_stream_itself():
    """A stream that starts from another's latents and a new prompt is that stream prompted; beyond the context too."""
    for count in (3, 16):
        model = streamer()
        whole, latents = model.stream("walk", seed=3, hold=True), []
        for _ in range(count):
            next(whole)
            latents.append(whole.latent)
        again = model.stream("jump", seed=5, past=torch.stack(latents), hold=True)
        whole.row.sample_noise = model.stream("jump", seed=5).row.sample_noise
        whole.prompt("jump")
        assert_same(pull(again, 3), pull(whole, 3))


def test_a_prompt_holds_from_the_next_latent_on():
    model = streamer()
    plain, changed = model.stream("walk", seed=3), model.stream("walk", seed=3)
    before = pull(changed, 5)
    changed.prompt("jump")
    after = pull(changed, 5)
    assert_same(before, pull(plain, 5))
    unchanged = pull(plain, 1)
    assert np.abs(after[:4] - unchanged).max() > 1e-3 * np.abs(unchanged).max()


def test_parts_of_a_sentence_hold_as_prompts_do():
    """One after another: for their shares of a given length, or until their motion is over, at most half a context."""
    model = streamer()
    in_turn, at_once = model.stream("walk", hold=True), model.stream("sit", hold=True, parts=True)
    walked = pull(in_turn, 5)
    in_turn.prompt("jump")
    assert_same(model.generate("walk, then jump", length=40, parts=True), np.concatenate([walked, pull(in_turn, 5)]))
    plain = model.stream("sit", hold=True)
    pull(plain, 2), pull(at_once, 2)
    plain.prompt("walk"), at_once.prompt("walk, then jump")
    assert_same(pull(at_once, 5), pull(plain, 5))
    plain.prompt("jump")
    assert_same(pull(at_once, 5), pull(plain, 5))
    for parts, frames in (True, 12), (False, 4):
        assert len(streamer(ALWAYS).generate("walk, then jump, then sit", parts=parts)) == frames


def test_the_same_prompt_again_changes_nothing_while_all_of_the_past_fits():
    model = streamer(NEVER, replace(GUIDED, past=11))
    plain, again = model.stream("walk", seed=3), model.stream("walk", seed=3)
    pull(again, 5)
    again.prompt("walk")
    assert_same(pull(again, 6), pull(plain, 11)[20:])


def test_only_the_last_of_200_prompts_counts():
    model = streamer()
    many, one = model.stream("walk"), model.stream("walk")
    pull(many, 2), pull(one, 2)
    for number in range(199):
        many.prompt(f"jump {number}")
    many.prompt("sit"), one.prompt("sit")
    assert_same(pull(many, 3), pull(one, 3))


def test_a_stopped_stream_gives_nothing_until_it_is_prompted():
    """And goes on from where it stood."""
    model = streamer()
    stopped, plain = model.stream("walk"), model.stream("walk")
    pull(stopped, 4), pull(plain, 4)
    stopped.stop(), stopped.stop()
    assert stopped.at_rest
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(stopped)
    stopped.prompt("jump"), plain.prompt("jump")
    assert_same(pull(stopped, 3), pull(plain, 3))


def test_a_stream_goes_on_from_a_given_past():
    """As from the same motion of its own, as far as its latents are the encoder's: the decoder has seen it too."""
    model = streamer()
    past = MEAN.numpy() + STD.numpy() * np.random.default_rng(0).normal(size=(31, 272)).astype(np.float32)
    latents = model.encode(past)
    assert latents.shape == (7, 4)
    torch.testing.assert_close(latents, model.encode(past[3:]))
    cache = model.tae.new_cache(1)
    model.decode(latents[None], cache)
    row = model.new_row(model.text_encoder(["walk"]), 5, hold=True, past=latents)
    streams = LatentStreams(model.ar, NEVER, GUIDED, model.text_encoder([""])[0])
    streams.start(row)
    expected = np.concatenate([model.decode(streams.step()[0][:, None], cache)[0].numpy() for _ in range(4)])
    assert_same(pull(model.stream("walk", seed=5, past=past, hold=True), 4), expected)
    assert np.abs(expected - pull(model.stream("walk", seed=5, hold=True), 4)).max() > 1e-2
    assert model.encode(np.tile(past, (9, 1))).shape == (11, 4)      # no more than the context holds


@pytest.mark.parametrize("past, said", [
    (np.zeros((8, 263), np.float32), r"a past of shape \(8, 263\): expected \(T, 272\)"),
    (np.zeros((3, 272), np.float32), r"a past of shape \(3, 272\): expected \(T, 272\), T at least 4"),
    (np.full((8, 272), np.nan, np.float32), "the past has values that are not finite"),
])
def test_a_bad_past_refuses(past, said):
    with pytest.raises(ValueError, match=said):
        streamer().stream("walk", past=past)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_prompt_refuses_and_the_stream_goes_on(text):
    model = streamer()
    with pytest.raises(ValueError, match="the prompt is empty"):
        model.stream(text)
    stream, plain = model.stream("walk"), model.stream("walk")
    with pytest.raises(ValueError, match="the prompt is empty"):
        stream.prompt(text)
    assert_same(pull(stream, 2), pull(plain, 2))


def test_a_prompt_of_2000_words():
    assert pull(streamer().stream("walk " * 2000), 2).shape == (8, 272)


def test_two_threads_on_one_stream_share_its_frames():
    """None is lost, none comes twice, and a third thread's prompts do no harm."""
    model, found = streamer(), []
    stream, plain = model.stream("walk", seed=1), model.stream("walk", seed=1)

    def work() -> None:
        for _ in range(10):
            found.append(next(stream))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = pull(plain, 20).reshape(20, 4, 272)
    order = [int(np.abs(expected - piece).max(axis=(1, 2)).argmin()) for piece in found]
    assert sorted(order) == list(range(20))
    with ThreadPoolExecutor(1) as prompting:
        prompted = prompting.submit(lambda: [stream.prompt(word) for word in ["jump", "sit"] * 10])
        assert np.isfinite(pull(stream, 20)).all()
        prompted.result()    # raises what went wrong there


def test_memory_stays_flat():
    """After a thousand latents no tensor of a stream is larger than after twelve."""
    stream = streamer().stream("walk")

    def size() -> int:
        tensors = [*stream.streams.latents.cache.tensors(), *stream.decoder.values(), stream.row.latents]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    pull(stream, 12)
    before = size()
    pull(stream, 1000)
    assert size() == before


def test_a_stream_at_rest_keeps_nothing_of_its_neighbours():
    streams = streamer().streams()
    first, *others = [streams.start("walk", seed) for seed in range(8)]
    next(streams)
    first.stop()
    kept = sum(context.untyped_storage().nbytes() for context in first.decoder.values())
    assert kept == sum(context.nbytes for context in first.decoder.values())


def test_positions_of_a_stream_equal_those_of_the_whole():
    stream, path = streamer().stream("walk"), Motion272Decoder()
    pieces = list(islice(stream, 6))
    together = np.concatenate([path.positions(piece) for piece in pieces])
    np.testing.assert_allclose(together, motion272_to_positions(np.concatenate(pieces)), atol=1e-5)
