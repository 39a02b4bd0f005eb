"""What the names of a skeleton's joints say: sides and parts, in the spellings of many tools.

`LeftUpLeg`, `thigh_l`, `mixamorig:LeftUpLeg`, `J_Bip_L_UpperLeg`, `lfemur`, `Bip01 L Thigh`, `DEF-thigh.L`,
`THIGH_LEFT`, `左足` are all ("left", "thigh"). A piece of a bone, `thigh_twist.l`, is no part, but has its words.
"""

import re
from collections import Counter

SIDES = {"l": "left", "left": "left", "lft": "left", "左": "left", "r": "right", "right": "right", "rgt": "right",
         "右": "right"}
NOISE = {"c", "m", "center", "joint", "jnt", "bone", "bind", "bend", "base", "def", "skel", "sk", "bip"}
PIECES = {"twist", "roll", "stretch", "part", "share", "corrective"}
# Words of the tools for a part; "hip", "shoulder", "leg" and "arm" mean one or another, which their chain tells.
PARTS = {
    "neck": "neck 首 颈 頸 脖子 neck1 lowerneck necklower",
    "head": "head 頭 头 headneck skull",
    "foot": "foot ankle feet 足首 脚 腳 脚踝",
    "toe": "toe toes bigtoe ball つま先 脚趾 脚尖 forefoot toebase football midfoot metatarsals",
    "hand": "hand wrist palm 手首 手 手腕 手掌",
    "thigh": "thigh upleg upperleg uleg femur 足 大腿 legupper upperlimb",
    "hip": "hip hips",
    "shin": "shin shank lowerleg lowleg loleg knee calf tibia ひざ 小腿 膝 膝盖 leglower",
    "leg": "leg",
    "collar": "collar clavicle 肩 肩膀 锁骨 clav collarbone",
    "shoulder": "shoulder",
    "upper arm": "arm upperarm uparm uarm humerus shldr 腕 上臂 上腕 大臂 armupper bicep",
    "forearm": "forearm lowerarm lowarm loarm farm elbow radius ひじ 前臂 前腕 小臂 肘 手肘 armlower",
}
PART_OF = {word: part for part, words in PARTS.items() for word in words.split()}
# LEFT and JNT are words, LUArm is three.
TOKEN = re.compile(r"(?<![A-Za-z])[A-Z]{3,}(?![A-Za-z])|[A-Z]?[a-z]+|[A-Z]|[^\W\dA-Za-z_]")


def parts_of(names: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(side, part, words) of each joint; "" for what a name does not say."""
    found = []
    for name in without_prefix(names):
        tokens = [token.lower() for token in TOKEN.findall(name)]
        joined = "".join(re.findall(r"[^\W\dA-Za-z_]+", name))
        side = next((SIDES[token] for token in tokens if token in SIDES), "")
        if joined:                                   # 左ひざ, ひざ.L
            found.append((side, PART_OF.get(joined.strip("左右"), ""), joined.strip("左右")))
            continue
        words = "".join(token for token in tokens if token not in SIDES and token not in NOISE and token not in PIECES)
        if not side and words not in PART_OF and words[:1] in ("l", "r") and words[1:] in PART_OF:
            side, words = SIDES[words[0]], words[1:]  # lfemur
        found.append((side, "" if PIECES & {*tokens} else PART_OF.get(words, ""), words))
    return found


def without_prefix(names: tuple[str, ...]) -> list[str]:
    """The names without their namespace and without the beginning that most of them share: mixamorig:, Bip01,
    J_Bip_."""
    names = tuple(re.split(r"[:|]", name)[-1] for name in names)
    starts = Counter(name[:end] for name in names for end in range(2, len(name))
                     if name[end - 1] in "_-. " or name[end].isupper() and not name[end - 1].isupper())
    shared = [start for start, count in starts.items() if count >= 0.7 * len(names)]
    prefix = max(shared, key=len, default="")
    return [name.removeprefix(prefix) for name in names]
