"""Composed clips: parts and legs that stay as they were, joins without leaps, and sentences that are true."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from test_prepare_stream import contents_of
from test_says_does import pose

from dataset.captions import format_caption, read_captions, swap_left_right
from dataset.clips import split_ids
from dataset.prepare import connectives
from dataset.prepare.__main__ import main
from dataset.prepare.compose import SPLITS, draft_sequences, prepare_composed, read_stock
from dataset.prepare.connectives import plain
from dataset.prepare.folder import merge
from dataset.prepare.grammar import random_of
from dataset.prepare.joining import BLEND, LEGS, Unfit, join, reach
from dataset.prepare.pieces import STILL_KIND, TURNING, survey
from dataset.prepare.sequences import ABRUPT, Chain, in_sequence
from dataset.prepare.stream import prepare_pairs
from dataset.prepare.together import ARM, Bowing, Pairing, at_once, bow_walking
from motion import measures
from motion.representation_272 import (
    FPS, ROTATIONS, mirror_pose, motion272_to_pose, motion272_to_positions, pose_to_motion272,
)
from motion.skeleton import JOINT_NAMES, forward_kinematics

PHRASES = {"walk": ["{walk} forward", "{walk} and {swing} @ arms"], "walk-turn-left": ["{turn} left"],
           "raise-up-left-hand": ["{raise} @ left hand"], "wave-right-hand": ["{wave} @ right hand"], "bow": ["{bow}"]}


def wave(frames, *degrees, hertz=1):
    """(T, 3): an axis-angle that goes to and fro."""
    return np.sin(np.arange(frames)[:, None] / FPS * 2 * np.pi * hertz) * degrees


def bump(frames, *degrees):
    """(T, 3): an axis-angle that comes in the middle and goes again."""
    return np.clip(3 - 2 * abs(np.linspace(-1.8, 1.8, frames)), 0, 1)[:, None] * degrees


def along(speed, heading=0.0):
    """(T, 3), where one goes who has speeds (T,) in metres per second and headings in degrees."""
    x, z = (part(np.radians(heading)) * speed / FPS for part in (np.sin, np.cos))
    return np.stack([x, 0 * x, z], axis=-1).cumsum(axis=0)


def walking(frames, heading=0.0, speed=1.2):
    legs = dict(left_hip=wave(frames, 25, 0, 0), right_hip=wave(frames, -25, 0, 0))
    arms = dict(left_shoulder=wave(frames, 0, 15, 0) - [0, 0, 75], right_shoulder=wave(frames, 0, 15, 0) + [0, 0, 75])
    return pose(frames, along(np.broadcast_to(speed, frames), heading), heading, **legs, **arms)


def motions(seed):
    """Kind -> a pose of it, each performer with a gait of his own."""
    speed = 1.0 + 0.1 * seed
    halting = np.clip(np.linspace(1.6 * speed, -speed, 120), 0, speed)
    return {"walk": walking(150, speed=speed),
            "walk-turn-left": walking(150, np.clip(np.linspace(-120, 210, 150), 0, 90), speed),
            "raise-up-left-hand": pose(90, left_shoulder=bump(90, 0, 0, 150) - [0, 0, 75]),
            "wave-right-hand": pose(90, right_shoulder=bump(90, 0, 0, -130) + [0, 0, 75]
                                    + bump(90, 1, 1, 1) * wave(90, 0, 0, 25, hertz=2)),
            "bow": pose(80, spine1=bump(80, 50, 0, 0)),
            "idle": pose(70 + seed, neck=wave(70 + seed, 1, 2, 0)),
            "halt": walking(120, speed=halting),
            "start": walking(120, speed=halting[::-1])}


def prepared(folder):
    """A prepared set: three performers of train and one of val, each with his mirror image."""
    for name in ("motion_data", "texts", "split"):
        (folder / name).mkdir(parents=True)
    splits, groups, phrases = {split: [] for split in (*SPLITS, "test")}, {}, {}
    for seed, who in enumerate(("ann", "bob", "cat", "dan", "eve")):
        split = {"dan": "val", "eve": "test"}.get(who, "train")
        for kind, body in motions(seed).items():
            for name, values in ((f"{who}_{kind}", body), (f"M{who}_{kind}", mirror_pose(*body))):
                own = swap_left_right if name[0] == "M" else str
                np.save(folder / "motion_data" / f"{name}.npy", pose_to_motion272(*values).astype(np.float32))
                (folder / "texts" / f"{name}.txt").write_text(format_caption(own(f"this is {kind}")) + "\n")
                splits[split].append(name)
                groups[name] = own(kind)
                if kind in PHRASES:
                    style = "elderly" if who == "bob" else ""
                    phrases[name] = dict(style=style, phrases=[own(phrase) for phrase in PHRASES[kind]])
    for split, names in splits.items():
        (folder / "split" / f"{split}.txt").write_text("\n".join(names))
    for name, values in (("groups", groups), ("phrases", phrases)):
        (folder / f"{name}.json").write_text(json.dumps(values))
    (folder / "skipped.txt").write_text("")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("source") / "mocap_272")


@pytest.fixture(scope="module")
def stock(source):
    return read_stock([source], "train", 0)


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    """The folder of composed clips, and of each its motion and sentences."""
    out = tmp_path_factory.mktemp("made") / "composed_272"
    prepare_composed([source], out, sequences=60, together=60, workers=0)
    ids = [name for split in SPLITS for name in split_ids(out, split, "")]
    return out, {name: (np.load(out / "motion_data" / f"{name}.npy"),
                        [caption.text for caption in read_captions(out / "texts" / f"{name}.txt")]) for name in ids}


def piece_of(stock, kind, who="ann"):
    return next(piece for piece in stock.pieces + stock.stands if piece.kind == kind and piece.id.startswith(who))


def arms_of(stock, kind, who="ann"):
    return next(arms for arms in stock.arms if arms.kind == kind and arms.piece.id.startswith(who))


def chains(stock, count=60):
    """Sequences that could be made: motion (T, 272) and parts."""
    for draft in draft_sequences(stock, "train", range(1, count + 1)):
        try:
            yield in_sequence(draft.plan)
        except Unfit:
            continue


def test_a_piece_holds_all_that_its_phrase_says(stock):
    for who in ("ann", "bob", "cat"):
        assert piece_of(stock, "walk", who).kept is None
        turn, bow = piece_of(stock, "walk-turn-left", who), piece_of(stock, "bow", who)
        joints = motion272_to_positions(turn.motion[slice(*turn.kept)])
        assert measures.turned(joints) > 75 and turn.kept[1] - turn.kept[0] < 80
        lean = measures.leaning(motion272_to_positions(bow.motion[slice(*bow.kept)]))
        assert lean.max() > 30 and max(lean[0], lean[-1]) < 5
    assert {stand.id.split("_")[1] for stand in stock.stands} >= {"idle"}
    for kind, body in (("walk", pose(90)), ("bow", walking(90)), ("walk-turn-right", motions(0)["walk-turn-left"])):
        assert not survey_of(stock, body, kind), f"this is no {kind}"
    back, = survey_of(stock, walking(150, speed=np.repeat([-1.0, 0.0], [100, 50])), "walk-back")
    assert back.kept is None and back.first == 0 and 85 < back.end < 105 and abs(back.drift) > 170
    assert set(stock.changes) == {"walk to stand", "stand to walk"}


def test_parts_are_unchanged_away_from_the_blend_and_hold_their_action(stock):
    seen = set()
    for motion, parts in chains(stock):
        begin = 0
        for number, part in enumerate(parts):
            frames = part.end - part.first
            assert part.kept is None or part.first <= part.kept[0] + 1 < part.kept[1] <= part.end
            blend = BLEND + 1 if number else 0
            np.testing.assert_allclose(motion[begin + blend:begin + frames, ROTATIONS], part.frames[blend:, ROTATIONS],
                                       atol=1e-5)
            begin += frames
            seen.add(part.kind)
        assert begin == len(motion) <= 300
    assert seen >= {*PHRASES, STILL_KIND, "walk to stand", "stand to walk"}


def test_a_root_neither_leaps_nor_stops_dead(stock):
    """The body keeps its speed over a join, and changes it no faster than a fall would."""
    for motion, parts in chains(stock):
        path = motion272_to_positions(motion)[:, 0]
        for end in np.cumsum([part.end - part.first for part in parts])[:-1]:
            change = np.diff(path[end - 3:end + BLEND + 3], 2, axis=0)
            assert np.linalg.norm(change[1], axis=-1) < 1e-3 + ABRUPT / FPS / BLEND * 4    # at the join itself
            assert np.linalg.norm(change, axis=-1).max() < 9.81 / FPS**2


def test_from_a_walk_to_a_stand_one_halts(stock):
    walk, bow = piece_of(stock, "walk"), piece_of(stock, "bow")
    with pytest.raises(Unfit, match="speeds by 0.7 m/s"):
        in_sequence(Chain(((walk,), (bow,)), (60, 60)))
    halts = tuple(stock.changes["walk to stand"])
    motion, parts = in_sequence(Chain(((walk,), (bow,)), (60, 60), Chain(((walk,), halts, (bow,)), (60, 36, 60))))
    assert [part.kind for part in parts] == ["walk", "walk to stand", "bow"] and len(motion) < 300


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("kind", ["raise-up-left-hand", "wave-right-hand"])
@pytest.mark.parametrize("legs", ["walk", "walk-turn-left"])
def test_arms_act_on_legs_that_stay_as_they_were(stock, kind, legs, held):
    arms = arms_of(stock, kind)
    arms = replace(arms, waves=arms.waves and not held)
    (rotations, joints), walked = at_once(Pairing(arms, (piece_of(stock, legs),), held, 10, 100, 0.5))
    own, pelvis = motion272_to_pose(walked.frames.astype(np.float64))
    side, = arms.sides
    others = [place for place in range(22) if place not in ARM[side]]
    np.testing.assert_array_equal(rotations[:, others], own[:, others])
    np.testing.assert_array_equal(joints[:, 0], pelvis)
    assert measures.travelled(joints)[0] > 2
    high = measures.above(joints, f"{side}_wrist", "head")
    assert high.mean() > 0.95 if held else 0 < high.mean() < 0.9
    assert measures.stays_down(joints, measures.OTHER[side])


def test_what_arms_must_not_do_is_refused(stock):
    """Legs under which the other hand rises, too: those of one who raises it himself."""
    body = pose(120, along(np.full(120, 1.2)), right_shoulder=bump(120, 0, 0, -150) + [0, 0, 75])
    raised, = survey_of(stock, body, "walk")
    with pytest.raises(Unfit, match="the other hand rises, too"):
        at_once(Pairing(arms_of(stock, "raise-up-left-hand"), (raised,), True, 10, 100, 0.5))
    short = replace(piece_of(stock, "walk"), end=50)
    with pytest.raises(Unfit, match="long enough"):
        at_once(Pairing(arms_of(stock, "raise-up-left-hand"), (short,), False, 10, 100, 0.5))


def survey_of(stock, body, kind):
    """The pieces of a pose that is said to be of a kind."""
    folder = stock.pieces[0].folder
    np.save(folder / "motion_data" / "one.npy", pose_to_motion272(*body).astype(np.float32))
    return survey((folder, "one", kind, dict(style="", phrases=["{move}"]))).pieces


def test_a_bow_on_legs_leaves_them_and_the_arms_as_they_were(stock):
    bowing = Bowing(piece_of(stock, "bow"), (piece_of(stock, "walk"),), 20, 0.5)
    (rotations, joints), walked = bow_walking(bowing)
    own, pelvis = motion272_to_pose(walked.frames.astype(np.float64))
    legs = [JOINT_NAMES.index(f"{side}_{name}") for side in measures.OTHER for name in ("hip", "knee", "ankle", "foot")]
    np.testing.assert_array_equal(rotations[:, [0, *legs]], own[:, [0, *legs]])
    np.testing.assert_array_equal(joints[:, 0], pelvis)
    before, lean = (measures.leaning(values) for values in (forward_kinematics(own, pelvis), joints))
    assert lean.max() > before.max() + 25
    np.testing.assert_allclose([lean[0], lean[-1]], [before[0], before[-1]], atol=1e-6)
    arms = [measures.joint(values, "left_wrist") - measures.joint(values, "left_shoulder")
            for values in (forward_kinematics(own, pelvis), joints)]
    np.testing.assert_allclose(*arms, atol=1e-9)


def test_feet_that_stand_before_and_after_stay():
    """From upright to bent knees, the pelvis behind the feet: they neither go with it nor sink while the knees bend."""
    bent = dict(left_hip=(-40, 0, 6), right_hip=(-40, 0, -6), left_knee=(60, 0, 0), right_knee=(60, 0, 0),
                left_ankle=(-20, 0, 0), right_ankle=(-20, 0, 0), spine1=wave(60, 5, 0, 0))
    (_, joints), _ = join(*(pose_to_motion272(*body) for body in (pose(60), pose(60, heading=20, **bent))))
    ankles = joints[:, [leg[-1] for leg in LEGS]]
    assert measures.joint(joints, "pelvis")[-1, 1] < measures.joint(joints, "pelvis")[0, 1] - 0.05
    assert ankles[..., 1].min() > ankles[0, :, 1].min() - 0.005
    assert np.linalg.norm((ankles - ankles[0])[..., [0, 2]], axis=-1).max() < 0.08
    assert np.linalg.norm((joints[-1, 0] - joints[0, 0])[[0, 2]]) > 0.1


def test_a_leg_reaches_what_is_within_its_reach():
    rotations, joints = walking(20)
    leg = LEGS[0]
    target = joints[:, leg[-1]] + [0.05, 0.1, 0.1]
    bent = reach(rotations, joints[:, 0], leg, target)
    after = forward_kinematics(bent, joints[:, 0])
    np.testing.assert_allclose(after[:, leg[-1]], target, atol=3e-3)
    others = [place for place in range(22) if place not in leg]
    np.testing.assert_array_equal(bent[:, others], rotations[:, others])
    np.testing.assert_allclose(after[:, 10] - after[:, 7], joints[:, 10] - joints[:, 7], atol=1e-9)    # the foot
    np.testing.assert_allclose(reach(rotations, joints[:, 0], leg, joints[:, leg[-1]]), rotations, atol=1e-9)


def test_sides_in_sentences_are_those_of_the_motion(made):
    hands = {"left": 0, "right": 0}
    for name, (motion, texts) in made[1].items():
        joints = motion272_to_positions(motion)
        if not re.match("M?both", name):
            continue
        for side in hands:
            if any(re.search(rf"{side} (hand|arm)", text) for text in texts):
                assert measures.above(joints, f"{side}_wrist", f"{side}_shoulder").any()
                assert measures.stays_down(joints, measures.OTHER[side])
                hands[side] += 1
        for text in texts:
            if re.search("turn(s|ing)? left", text):
                assert measures.turned(joints) > TURNING
            if re.search("turn(s|ing)? right", text):
                assert measures.turned(joints) < -TURNING
    assert min(hands.values()) > 20


def test_the_order_in_a_sentence_is_that_of_the_motion(made):
    found, order = 0, re.compile("bows?,? (and )?then (raise|wave)s?|bow(s|ing)? before (rais|wav)ing")
    for motion, texts in made[1].values():
        if any(map(order.search, texts)):
            joints = motion272_to_positions(motion)
            hands = max(measures.joint(joints, f"{side}_wrist")[:, 1].argmax() for side in measures.OTHER)
            assert measures.leaning(joints).argmax() < hands
            found += 1
    assert found


def test_a_mirror_image_says_and_does_it_on_the_other_side(made):
    out, clips = made
    groups = json.loads((out / "groups.json").read_text())
    for name, (motion, texts) in clips.items():
        if name[0] != "M":
            turned, texts_of = clips[f"M{name}"]
            assert [swap_left_right(text) for text in texts] == texts_of
            assert groups[f"M{name}"] == swap_left_right(groups[name])
            np.testing.assert_allclose(pose_to_motion272(*mirror_pose(*_posed(motion))), turned, atol=1e-4)


def _posed(motion):
    rotations, pelvis = motion272_to_pose(motion.astype(np.float64))
    return rotations, forward_kinematics(rotations, pelvis)


def test_labels_are_of_what_comes_last_or_the_arms_do(made):
    out, clips = made
    groups = json.loads((out / "groups.json").read_text())
    assert set(groups) == set(clips) and {group.split()[0] for group in groups.values()} == {"then", "both", "still"}
    for name, group in groups.items():
        kind = re.match(r"M?(then|both)_\d{6}|M?.*_still", name)[1]
        assert group.startswith(kind or STILL_KIND)
    assert all(len(set(texts)) == len(texts) >= 3 for _, texts in clips.values())


def test_a_split_is_made_of_its_own_clips_and_test_stays_empty(source, made):
    for split in SPLITS:
        stock = read_stock([source], split, 0)
        own = set(split_ids(source, split, ""))
        changes = [piece for pieces in stock.changes.values() for piece in pieces]
        used = stock.pieces + stock.stands + changes + [arms.piece for arms in stock.arms]
        assert used and {piece.id for piece in used} <= own
    assert (made[0] / "split" / "test.txt").read_text() == ""


def test_it_merges_and_streams_leave_it_out(source, made, tmp_path, capsys):
    merge([source, made[0]], tmp_path / "all")
    prepare_pairs(tmp_path / "all", tmp_path / "pairs", pairs=40, workers=0)
    told = [path.read_text() for path in (tmp_path / "pairs").glob("*_stream_text/*.txt")]
    assert told and any("stand" in text or "wait" in text for text in told)
    composed = {text for name, (_, texts) in made[1].items() if "_still" not in name for text in texts}
    assert not composed & {part for text in told for part in text.split("#")[0].split("*")}


def test_same_bytes_alone_and_in_parallel(source, tmp_path):
    for name, workers in (("a", 0), ("b", 2)):
        prepare_composed([source], tmp_path / name, sequences=8, together=8, workers=workers)
    assert contents_of(tmp_path / "a") == contents_of(tmp_path / "b")


def test_every_form_becomes_a_sentence():
    """No brace is left, and one who is they has verbs that fit."""
    phrases = ["{walk}", "{wave} @ left hand", "{bow}"]
    assert len(connectives.forms("then")) >= 60 and len(connectives.forms("both")) >= 40
    for name in ("then", "then_stopping", "then_three", "both", "both_held"):
        for form in connectives.forms(name):
            for who, pronoun in (("they", "they"), ("she", "she"), ("a man", "he")):
                text = connectives.filled(form, who, pronoun, "the", phrases, "@ hand up")
                assert not re.search("[{}@]", text) and ("wav" in text or "hand up" in text)
                if who == "they":
                    assert not re.search(r"they (\w+ )?(walks|waves|bows|is|has)\b", text)
                if who == "she":
                    assert not re.search(r"she (first |both )?(walk|wave|bow|are|have)\b", text)


def test_a_part_is_not_said_to_do_all_that_its_clip_does(stock):
    phrases = "{walk} on", "{walk} two long steps", "{take} 8 steps forward", "{go} a long way", "{walk} and {turn}"
    walk = replace(next(piece for piece in stock.pieces if piece.kind == "walk"), phrases=phrases)
    assert walk.kept is None and plain(walk) == phrases[:1]
    measured = plain(replace(walk, phrases=phrases[1:], end=walk.first + 60))
    assert measured and not set(measured) & set(phrases) and not any("{turn}" in text for text in measured)
    with pytest.raises(Unfit, match="nothing short is sure"):
        plain(replace(walk, phrases=phrases[1:], end=walk.first + 10))
    assert plain(replace(walk, kind="jump", kept=(10, 60), phrases=("{jump} two times",))) == ("{jump} two times",)


def test_a_sentence_says_a_style_only_if_all_parts_have_it():
    parts = [("{walk}",), ("{bow}",)]
    plain, old = (connectives.compose_sentences(random_of(str(number)), ("then",), parts, style)
                  for style in ("", "elderly") for number in (0,))
    words = re.compile(r"\bold\b|elder|aged|frail|senior|grand|stoop|stiff|age\b|back\b|pensioner|feebl|hunched|bent")
    assert not any(map(words.search, plain)) and any(map(words.search, old))


def test_a_train_split_without_phrases_is_told(tmp_path):
    source = prepared(tmp_path / "mocap_272")
    (source / "phrases.json").write_text("{}")
    for name in ("idle", "halt", "start"):
        for path in (source / "motion_data").glob(f"*_{name}.npy"):
            np.save(path, pose_to_motion272(*motions(0)["bow"]).astype(np.float32))
    with pytest.raises(ValueError, match="found 0 clips in train, expected at least 1"):
        prepare_composed([source], tmp_path / "out", sequences=4, together=4, workers=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments, said", [
    (["--source", "nowhere"], "found no nowhere/motion_data, expected a prepared data set. Make it first: "),
    (["--source", "{source}", "--sequences", "0", "--together", "0"], "expected at least one clip"),
    (["--source", "{source}", "--sequences", "-1"], "found --sequences -1"),
    (["--source", "{source}", "--out", "{source}"], "expected two folders: choose another --out"),
])
def test_a_callers_mistake_is_one_sentence(source, tmp_path, monkeypatch, refused, arguments, said):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.format(source=source) for argument in arguments]
    assert said in refused(main, "compose", "--out", "out", *arguments)
    assert not (tmp_path / "out").exists()
