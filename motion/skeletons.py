"""Which joint of any skeleton is which of ours: by names that tools give them, else by the shape of the tree.

Letters: J joints of the skeleton. A joint is its number among them.
"""

import numpy as np

from motion.formats import Capture
from motion.joint_names import PART_OF, parts_of
from motion.rest_pose import unit

Ends = dict[str, int]    # "left foot", "right foot", "left hand", "right hand", "head" -> a joint


class Tree:
    """The joints of a capture, their places in one pose, and what their names say."""

    def __init__(self, capture: Capture):
        self.names, self.parents = capture.names, capture.parents
        rest = capture.rest if capture.rest is not None else capture.positions[0]
        self.places = rest if np.ptp(rest, axis=0).max() > 0 else capture.positions[0]
        self.lengths = np.array([0.0 if parent < 0 else float(np.linalg.norm(self.places[joint] - self.places[parent]))
                                 for joint, parent in enumerate(self.parents)])
        self.said = parts_of(self.names)
        self.children: list[list[int]] = [[] for _ in self.names]
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                self.children[parent].append(joint)
        self.reach, self.sizes = self.lengths * 0, np.ones(len(self.names), int)    # of the longest chain below; joints
        for joint in reversed(range(len(self.names))):
            for child in self.children[joint]:
                self.reach[joint] = max(self.reach[joint], self.lengths[child] + self.reach[child])
                self.sizes[joint] += self.sizes[child]

    def path(self, joint: int) -> list[int]:
        """From the root to a joint."""
        found = []
        while joint >= 0:
            found.append(joint)
            joint = self.parents[joint]
        return found[::-1]

    def meeting(self, first: int, second: int) -> int:
        """The last joint that is above both."""
        common = [a for a, b in zip(self.path(first), self.path(second)) if a == b]
        if not common:
            raise ValueError("its parts hang on several roots")
        return common[-1]


def sources(capture: Capture) -> tuple[dict[str, list[str] | str], str]:
    """Our joint -> the name of theirs, or the two of ours that it is between; and how it was found: names or shape.

    raises   ValueError that says what was not found
    """
    tree = Tree(capture)
    errors = []
    for how, ends_of in (("names", ends_by_name), ("shape", ends_by_shape)):
        try:
            return _filled(tree, ends_of(tree)), how
        except ValueError as error:
            errors.append(str(error))
    raise ValueError(f"Found no person's skeleton among the joints {', '.join(capture.names[:40])}: {errors[0]}; by "
                     f"the tree's shape {errors[1]}. Give a map, --skeleton map.json: python -m motion.inspect FILE "
                     "--write-map writes one to correct.")


def ends_by_name(tree: Tree) -> Ends:
    """Feet, hands and head by what they are called; the first below the root of each."""
    ends: Ends = {}
    for side in ("left", "right"):
        for part in ("foot", "hand"):
            found = [joint for joint, said in enumerate(tree.said) if said[:2] == (side, part)]
            if not found:
                raise ValueError(f"no joint is called a {side} {part}")
            ends[f"{side} {part}"] = min(found, key=lambda joint: len(tree.path(joint)))
    heads = [joint for joint, said in enumerate(tree.said) if said[1] == "head"]
    if heads:
        ends["head"] = min(heads, key=lambda joint: len(tree.path(joint)))
    return ends


def ends_by_shape(tree: Tree) -> Ends:
    """Feet and hands as the ends of the two longest pairs of like limbs, legs below arms; left by where feet point."""
    pairs = []
    for joint in range(len(tree.names)):
        below = sorted(tree.children[joint], key=lambda child: -tree.reach[child] - tree.lengths[child])
        for place, first in enumerate(below):
            for second in below[place + 1:]:
                longs = [tree.lengths[child] + tree.reach[child] for child in (first, second)]
                if tree.sizes[first] == tree.sizes[second] > 2 and min(longs) > 0.95 * max(longs) > 0:
                    pairs.append((-min(longs), joint, first, second))
    pairs = sorted(pairs)                                # of two persons as long the first
    for _, legs_at, *legs in pairs:
        arms = next(((joint, limbs) for _, joint, *limbs in pairs
                     if legs_at in tree.path(joint) and not set(limbs) & set(legs)
                     and not any(set(legs) & set(tree.path(limb)) for limb in limbs)), None)
        if arms:
            return _sided(tree, legs_at, legs, *arms)
    raise ValueError("no legs and arms, two like limbs each, are found")


def _sided(tree: Tree, pelvis: int, legs: list[int], chest: int, arms: list[int]) -> Ends:
    feet, hands = [_middle_end(tree, leg) for leg in legs], [_middle_end(tree, arm) for arm in arms]
    up = tree.places[arms].mean(0) - tree.places[legs].mean(0)
    toes = [tree.children[foot][0] if tree.children[foot] else foot for foot in feet]
    ahead = (tree.places[toes] - tree.places[feet]).sum(0)
    left = unit(np.cross(up, ahead))
    if not np.linalg.norm(left) > 0.5:
        raise ValueError("feet without toes do not tell left from right")
    ends: Ends = {}
    for part, joints, others in (("foot", feet, ("thigh", "shin")), ("hand", hands, ("upper arm", "forearm"))):
        if wrong := [tree.names[joint] for joint in joints if tree.said[joint][1] in others]:
            raise ValueError(f"the place of a {part} is that of {wrong[0]}")
        sides = sorted(joints, key=lambda joint: float(tree.places[joint] @ left), reverse=True)
        ends[f"left {part}"], ends[f"right {part}"] = sides
    return ends


def _middle_end(tree: Tree, limb: int) -> int:
    """The ankle or wrist of a limb: the end of the two longest bones that follow one another on its longest chain."""
    chain = [limb]
    while tree.children[chain[-1]]:
        chain.append(max(tree.children[chain[-1]], key=lambda child: tree.lengths[child] + tree.reach[child]))
    if len(chain) < 3:
        raise ValueError("a limb has fewer than three joints")
    sums = [tree.lengths[middle] + tree.lengths[end] for middle, end in zip(chain[1:], chain[2:])]
    return chain[int(np.argmax(sums)) + 2]


def _filled(tree: Tree, ends: Ends) -> dict[str, list[str] | str]:
    """All of ours from the ends of limbs: what lies on the ways between them."""
    pelvis = tree.meeting(ends["left foot"], ends["right foot"])
    chest = tree.meeting(ends["left hand"], ends["right hand"])
    if pelvis not in tree.path(chest):
        pelvis = tree.meeting(pelvis, chest)
    if tree.said[chest][1] == "neck" and tree.parents[chest] in tree.path(chest)[len(tree.path(pelvis)):]:
        chest = tree.parents[chest]                      # arms that hang on the neck
    found: dict[str, list[str] | str] = {"pelvis": tree.names[pelvis]}
    spine = tree.path(chest)[len(tree.path(pelvis)):]
    found |= _spine([tree.names[joint] for joint in spine])
    for side in ("left", "right"):
        found |= _leg(tree, side, ends[f"{side} foot"], pelvis) | _arm(tree, side, ends[f"{side} hand"], chest)
    found |= _neck(tree, ends, chest)
    return found


def _spine(spine: list[str]) -> dict[str, list[str] | str]:
    match spine:
        case []:
            return {name: ["pelvis", "neck"] for name in ("spine1", "spine2", "spine3")}
        case [only]:
            return {"spine1": ["pelvis", "spine3"], "spine2": ["pelvis", "spine3"], "spine3": only}
        case [low, high]:
            return {"spine1": ["pelvis", "spine2"], "spine2": low, "spine3": high}
    return {"spine1": spine[0], "spine2": spine[len(spine) // 2], "spine3": spine[-1]}


def _leg(tree: Tree, side: str, foot: int, pelvis: int) -> dict[str, list[str] | str]:
    above = tree.path(foot)[len(tree.path(pelvis)):-1]
    hip, knee = _two_of(tree, above, ("thigh", "hip"), ("shin", "leg"), "leg")
    ankle = f"{side}_ankle"
    toes = [child for child in tree.children[foot] if tree.said[child][1] in ("toe", "foot")]
    toes = sorted(toes, key=lambda child: -tree.lengths[child])        # of metatarsals and toes these
    toes += [child for child in tree.children[foot] if tree.lengths[child] > 0 and tree.children[foot] == [child]]
    return {f"{side}_hip": tree.names[hip], f"{side}_knee": tree.names[knee], ankle: tree.names[foot],
            f"{side}_foot": tree.names[toes[0]] if toes else [ankle, ankle]}


def _arm(tree: Tree, side: str, hand: int, chest: int) -> dict[str, list[str] | str]:
    above = [joint for joint in tree.path(hand)[len(tree.path(chest)):-1] if tree.said[joint][1] != "neck"]
    named = {PART_OF.get(tree.said[joint][2]) for joint in above}
    upper = ("upper arm",) if "upper arm" in named else ("shoulder",)
    shoulder, elbow = _two_of(tree, above, upper, ("forearm",), "arm")
    collars = [joint for joint in above[:above.index(shoulder)] if tree.lengths[joint] > 0 or joint == above[0]]
    return {f"{side}_collar": tree.names[collars[-1]] if collars else ["spine3", "spine3"],
            f"{side}_shoulder": tree.names[shoulder], f"{side}_elbow": tree.names[elbow],
            f"{side}_wrist": tree.names[hand]}


def _two_of(tree: Tree, above: list[int], upper: tuple[str, ...], lower: tuple[str, ...], what: str) -> tuple[int, int]:
    """The two joints of a limb above its end: by their names, else those of its longest bones.

    Of upper ones the last counts, for a hip joint may carry the thigh; pieces of one bone (thigh, thigh.001) are one.
    """
    words = [tree.said[joint][2] for joint in above]
    parts = {joint: PART_OF.get(word) for joint, word in zip(above, words)}
    own = [joint for place, joint in enumerate(above) if words[place] not in words[:place]]
    if len(own) < 2 or parts[own[-1]] in upper:          # leg 0 and leg 1 are two bones
        own = above
    uppers = [joint for joint in own if parts[joint] in upper]
    lowers = [joint for joint in own if parts[joint] in lower]
    if uppers and lowers and uppers[-1] < lowers[0]:
        return uppers[-1], lowers[0]
    if len(own) < 2:
        raise ValueError(f"a {what} has {len(own)} joints above its end, not two")
    return own[-2], own[-1]


def _neck(tree: Tree, ends: Ends, chest: int) -> dict[str, list[str] | str]:
    head = ends.get("head")
    if head is None or chest not in tree.path(head):     # the longest way up from the chest that has no hand
        arms = set(tree.path(ends["left hand"])) ^ set(tree.path(ends["right hand"]))
        below = [child for child in tree.children[chest] if child not in arms and not tree.said[child][0]]
        if not below:
            return {"neck": ["spine3", "spine3"], "head": ["spine3", "spine3"]}
        head = max(below, key=lambda child: tree.sizes[child])
        while len(tree.children[head]) == 1:
            head = tree.children[head][0]
    between = tree.path(head)[len(tree.path(chest)):-1]
    return {"neck": tree.names[between[0]] if between else ["spine3", "head"], "head": tree.names[head]}

