"""A walk on the skeletons of many tools: their names and trees, other proportions, rest poses, axes and units, as BVH
files.

Letters: T frames, J joints (22, ours), N joints of a tool's skeleton.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from motion.formats.capture import TO_Y
from motion.rotation import axis_angle_to_matrix, y_rotation
from motion.skeleton import JOINT_NAMES, OFFSETS, PARENTS, forward_kinematics, local_to_global

SIDED = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
# How long the bones to these joints are, of ours: another body.
PROPORTIONS = dict(hip=1.1, knee=1.06, ankle=1.02, foot=0.95, collar=0.95, shoulder=1.1, elbow=0.92, wrist=0.96,
                   neck=1.05)


@dataclass(frozen=True)
class Skeleton:
    """One tool's skeleton: theirs for ours, what else there is, and how the tool stands and counts."""
    ours: dict[str, str | None]          # our joint -> their name; None: they have none
    extra: tuple[tuple[str, str], ...] = ()    # (name, the joint of theirs that it hangs on), as leaves
    split: tuple[tuple[str, str], ...] = ()    # (name, the joint of theirs in front of which it lies on the bone)
    root: str | None = None              # a joint above the pelvis that stays on the floor
    unit: float = 0.01
    up: str = "y"
    rest: str = "T"                      # the skeleton's own pose: T, A, N (arms down) or axes along the bones
    order: str = "ZXY"
    t_pose: bool = False                 # whether the first frame is a T-pose
    pose: Mapping[str, Sequence[float]] = field(default_factory=dict)    # and how else joints are turned in it, degrees


def sides(left: str, right: str, **joints: str | None) -> dict[str, str | None]:
    """{"left_hip": ..., "right_hip": ...}: * of a name is the side's word."""
    return {f"{side}_{joint}": name and name.replace("*", word) for joint, name in joints.items()
            for side, word in (("left", left), ("right", right))}


def middle(pelvis: str, spine: Sequence[str | None], neck: str | None, head: str) -> dict[str, str | None]:
    return {"pelvis": pelvis, **dict(zip(("spine1", "spine2", "spine3"), spine)), "neck": neck, "head": head}


def limbs(left: str, right: str, names: str) -> dict[str, str | None]:
    """Hip, knee, ankle, foot, collar, shoulder, elbow, wrist as words, "-" for none."""
    return sides(left, right, **{joint: None if name == "-" else name for joint, name in zip(SIDED, names.split())})


BVH_LIMBS = "*UpLeg *Leg *Foot *ToeBase *Shoulder *Arm *ForeArm *Hand"
SPINES = ("Spine", "Spine1", "Spine2")
FINGERS = tuple((f"{side}Hand{finger}{number}", f"{side}Hand" if number == 1 else f"{side}Hand{finger}{number - 1}")
                for side in ("Left", "Right") for finger in ("Thumb", "Index", "Pinky") for number in (1, 2))
MIXAMO = middle("Hips", SPINES, "Neck", "Head") | limbs("Left", "Right", BVH_LIMBS)
UNREAL = limbs("l", "r", "thigh_* calf_* foot_* ball_* clavicle_* upperarm_* lowerarm_* hand_*")
SMPL = {name: name for name in JOINT_NAMES}
ACCLAIM = "*femur *tibia *foot *toes *clavicle *humerus *radius *wrist"

SKELETONS = {
    "mixamo": Skeleton({ours: f"mixamorig:{name}" for ours, name in MIXAMO.items()},
                       tuple((f"mixamorig:{a}", f"mixamorig:{b}") for a, b in FINGERS)),
    "rokoko": Skeleton(middle("Hips", ("Spine1", "Spine2", "Spine4"), "Neck", "Head") | limbs(
        "Left", "Right", "*Thigh *Shin *Foot *Toe *Shoulder *Arm *ForeArm *Hand"), split=(("Spine3", "Spine4"),),
        rest="bones", t_pose=True),
    "xsens": Skeleton(middle("Hips", ("Chest", "Chest2", "Chest4"), "Neck", "Head") | limbs(
        "Left", "Right", "*Hip *Knee *Ankle *Toe *Collar *Shoulder *Elbow *Wrist"), split=(("Chest3", "Chest4"),),
        order="YXZ"),
    "xsens_mvn": Skeleton(middle("Pelvis", ("L5", "L3", "T8"), "Neck", "Head") | limbs(
        "Left", "Right", "*UpperLeg *LowerLeg *Foot *Toe *Shoulder *UpperArm *ForeArm *Hand"), split=(("T12", "T8"),),
        up="z"),
    "noitom": Skeleton(middle("Hips", SPINES, "Neck", "Head")
                       | limbs("Left", "Right", BVH_LIMBS.replace(" *ToeBase", " -")),
                       (*FINGERS, *((f"{side}InHandIndex", f"{side}Hand") for side in ("Left", "Right"))), order="YXZ"),
    "optitrack": Skeleton(middle("Hip", ("Ab", "Chest", None), "Neck", "Head") | limbs(
        "L", "R", "*Thigh *Shin *Foot *Toe *Shoulder *UArm *FArm *Hand"), unit=1.0),
    "lafan1": Skeleton(middle("Hips", SPINES, "Neck", "Head")
                       | limbs("Left", "Right", BVH_LIMBS.replace("ToeBase", "Toe")), rest="bones", order="ZYX"),
    "100style": Skeleton(middle("Hips", ("Chest", "Chest2", "Chest4"), "Neck", "Head") | limbs(
        "Left", "Right", "*Hip *Knee *Ankle *Toe *Collar *Shoulder *Elbow *Wrist"), split=(("Chest3", "Chest4"),),
        rest="N", order="YXZ"),
    "unreal": Skeleton(middle("pelvis", ("spine_01", "spine_02", "spine_03"), "neck_01", "head") | UNREAL, (
        *((f"{bone}_twist_01_{side}", f"{bone}_{side}") for side in "lr"
          for bone in ("thigh", "calf", "upperarm", "lowerarm")),
        ("ik_foot_root", "root"), ("ik_hand_root", "root")), root="root", up="z", rest="A"),
    "metahuman": Skeleton(middle("pelvis", ("spine_01", "spine_03", "spine_05"), "neck_01", "head") | UNREAL, tuple(
        (f"{bone}_correctiveRoot_{side}", f"{bone}_{side}") for side in "lr" for bone in ("thigh", "upperarm")),
        split=(("spine_02", "spine_03"), ("spine_04", "spine_05"), ("neck_02", "head")), root="root", up="z", rest="A"),
    "unity": Skeleton(middle("Hips", ("Spine", "Chest", "UpperChest"), "Neck", "Head") | limbs(
        "Left", "Right", "*UpperLeg *LowerLeg *Foot *Toes *Shoulder *UpperArm *LowerArm *Hand"), unit=1.0),
    "vrm": Skeleton({ours: f"J_Bip_{'C' if '_' not in ours else ours[0].upper()}_{name}" for ours, name in (middle(
        "Hips", ("Spine", "Chest", "UpperChest"), "Neck", "Head") | limbs(
        "", "", "UpperLeg LowerLeg Foot ToeBase Shoulder UpperArm LowerArm Hand")).items()}, root="Root", unit=1.0),
    "smpl": Skeleton(SMPL, unit=1.0),
    "smplh": Skeleton({ours: f"m_avg_{name}" for ours, name in (middle("Pelvis", ("Spine1", "Spine2", "Spine3"),
                                                                       "Neck", "Head")
                      | limbs("L", "R", "*_Hip *_Knee *_Ankle *_Foot *_Collar *_Shoulder *_Elbow *_Wrist")).items()},
                      tuple(
        (f"m_avg_{side}_{finger}1", f"m_avg_{side}_Wrist") for side in "LR" for finger in ("Index", "Thumb")),
        unit=1.0, up="z"),
    "hdm05": Skeleton(middle("root", ("lowerback", "upperback", "thorax"), "lowerneck", "head")
                      | limbs("l", "r", ACCLAIM), tuple(
        (f"{side}{part}", f"{side}wrist") for side in "lr" for part in ("hand", "thumb")), (
        ("lhipjoint", "lfemur"), ("rhipjoint", "rfemur"), ("upperneck", "head")), unit=0.0254),
    "rigify": Skeleton(middle("DEF-spine", ("DEF-spine.001", "DEF-spine.002", "DEF-spine.003"), "DEF-spine.004",
                              "DEF-spine.006")
                       | limbs("L", "R", "DEF-thigh.* DEF-shin.* DEF-foot.* DEF-toe.* DEF-shoulder.* DEF-upper_arm.* "
                               "DEF-forearm.* DEF-hand.*"), (("DEF-pelvis.L", "DEF-spine"),
                                                             ("DEF-pelvis.R", "DEF-spine")), (
        *((f"DEF-{bone}.{side}.001", f"DEF-{after}.{side}") for side in "LR" for bone, after in (
            ("thigh", "shin"), ("shin", "foot"), ("upper_arm", "forearm"), ("forearm", "hand"))),
        ("DEF-spine.005", "DEF-spine.006")), root="root", unit=1.0, up="z", rest="bones"),
    "max_biped": Skeleton({ours: f"Bip01 {name}" for ours, name in (middle("Pelvis", SPINES, "Neck", "Head") | limbs(
        "L", "R", "*_Thigh *_Calf *_Foot *_Toe0 *_Clavicle *_UpperArm *_Forearm *_Hand")).items()}, up="z",
        rest="bones", unit=0.0254, t_pose=True),
    "daz": Skeleton(middle("hip", ("abdomenLower", "abdomenUpper", "chestUpper"), "neckLower", "head") | limbs(
        "l", "r", "*ThighBend *Shin *Foot *Toe *Collar *ShldrBend *ForearmBend *Hand"), (), (
        *((f"{side}{bone}Twist", f"{side}{after}") for side in "lr" for bone, after in (
            ("Thigh", "Shin"), ("Shldr", "ForearmBend"), ("Forearm", "Hand"))), ("chestLower", "chestUpper"),
        ("neckUpper", "head"))),
    "mmd": Skeleton(middle("下半身", (None, "上半身", "上半身2"), "首", "頭") | limbs(
        "左", "右", "*足 *ひざ *足首 *つま先 *肩 *腕 *ひじ *手首"), root="センター", rest="A", unit=0.08),
    "kinect": Skeleton(middle("SpineBase", (None, "SpineMid", "SpineShoulder"), "Neck", "Head") | limbs(
        "Left", "Right", "Hip* Knee* Ankle* Foot* - Shoulder* Elbow* Wrist*"), unit=1.0, rest="N"),
    "nameless": Skeleton({name: f"b{number:02d}" for number, name in enumerate(JOINT_NAMES)}, unit=0.1),
}


def every(ours: dict[str, str | None], name: str) -> dict[str, str | None]:
    """Their names with what a tool puts before or behind: * of `name` is the joint's."""
    return {joint: theirs and name.replace("*", theirs) for joint, theirs in ours.items()}


HUMANOID = middle("hips", ("spine", "chest", "upperChest"), "neck", "head") | limbs(
    "left", "right", "*UpperLeg *LowerLeg *Foot *Toes *Shoulder *UpperArm *LowerArm *Hand")
BIPED = middle("Pelvis", SPINES, "Neck", "Head") | limbs(
    "L", "R", "*_Thigh *_Calf *_Foot *_Toe0 *_Clavicle *_UpperArm *_Forearm *_Hand")
ICLONE = middle("Hip", ("Waist", "Spine01", "Spine02"), "NeckTwist01", "Head") | limbs(
    "L", "R", "*_Thigh *_Calf *_Foot *_ToeBase *_Clavicle *_Upperarm *_Forearm *_Hand")
# Tools whose skeletons have no map of their own: their joints are found by the words of the names.
BY_NAMES = {
    "mixamo in Blender": Skeleton(every(MIXAMO, "mixamorig_*"), up="z", unit=1.0),
    "mixamo from Sketchfab": Skeleton(every(MIXAMO, "mixamorig:*_07")),
    "Maya HumanIK": Skeleton(every(MIXAMO, "Character1_*"), root="Character1_Reference", split=tuple(
        (f"Character1_{side}{bone}Roll", f"Character1_{side}{behind}") for side in ("Left", "Right")
        for bone, behind in (("UpLeg", "Leg"), ("Leg", "Foot"), ("Arm", "ForeArm"), ("ForeArm", "Hand")))),
    "OptiTrack Motive, FBX": Skeleton(every(SKELETONS["optitrack"].ours, "Skeleton 001_*")),
    "VRM 1.0, no more than it asks": Skeleton(HUMANOID | dict(
        spine2="chest", spine3=None, left_foot=None, right_foot=None, left_collar=None, right_collar=None), unit=1.0),
    "DeepMotion": Skeleton(every(middle("hips", ("spine", "spine1", "spine2"), "neck", "head") | limbs(
        "l", "r", "*_upleg *_leg *_foot *_toebase *_shoulder *_arm *_forearm *_hand"), "*_JNT")),
    "Cascadeur": Skeleton(middle("pelvis", ("stomach", "chest", None), "neck", "head") | limbs(
        "l", "r", "thigh_* calf_* foot_* toe_* clavicle_* arm_* forearm_* hand_*"), unit=1.0),
    "iClone, AccuRIG": Skeleton(every(ICLONE, "CC_Base_*"), tuple(
        (f"CC_Base_{side}_{bone}", f"CC_Base_{side}_{above}") for side in "LR" for bone, above in (
            ("ThighTwist01", "Thigh"), ("KneeShareBone", "Calf"), ("ToeBaseShareBone", "Foot"),
            ("UpperarmTwist01", "Upperarm"), ("ElbowShareBone", "Forearm"), ("Thumb1", "Hand"))),
        (("CC_Base_Pelvis", "CC_Base_L_Thigh"), ("CC_Base_NeckTwist02", "CC_Base_Head")), root="CC_Base_BoneRoot",
        rest="A"),
    "DAZ Genesis 9": Skeleton(middle("hip", ("spine1", "spine2", "spine4"), "neck1", "head") | limbs(
        "l", "r", "*_thigh *_shin *_foot *_toes *_shoulder *_upperarm *_forearm *_hand"), tuple(
        (f"{side}_{bone}", f"{side}_{above}") for side in "lr" for bone, above in (
            ("thightwist1", "thigh"), ("upperarmtwist1", "upperarm"), ("metatarsals", "foot"))), (
        ("spine3", "spine4"), ("neck2", "head")), rest="A"),
    "Second Life": Skeleton(middle("mPelvis", ("mTorso", "mChest", None), "mNeck", "mHead") | limbs(
        "Left", "Right", "mHip* mKnee* mAnkle* mFoot* mCollar* mShoulder* mElbow* mWrist*"), unit=1.0, up="z"),
    "Valve": Skeleton(every(BIPED, "ValveBiped.Bip01_*"), unit=0.0254, up="z"),
    "3ds Max Biped, two spines": Skeleton(every(BIPED | dict(spine2="Spine1", spine3=None), "Bip001 *"), up="z",
                                          rest="bones", t_pose=True),
    "Azure Kinect": Skeleton(middle("PELVIS", ("SPINE_NAVEL", None, "SPINE_CHEST"), "NECK", "HEAD") | limbs(
        "LEFT", "RIGHT", "HIP_* KNEE_* ANKLE_* FOOT_* CLAVICLE_* SHOULDER_* ELBOW_* WRIST_*"), (
        ("HAND_LEFT", "WRIST_LEFT"), ("HANDTIP_LEFT", "HAND_LEFT"), ("THUMB_RIGHT", "WRIST_RIGHT"), ("NOSE", "HEAD")),
        unit=0.001),
    "OpenPose": Skeleton(middle("MidHip", (None, None, None), "Neck", "Nose") | limbs(
        "L", "R", "*Hip *Knee *Ankle *BigToe - *Shoulder *Elbow *Wrist"), tuple(
        (f"{side}{part}", f"{side}Ankle") for side in "LR" for part in ("SmallToe", "Heel"))),
    "video2bvh": Skeleton(middle("Hip", (None, "Spine", "Thorax"), "Neck", "Head") | limbs(
        "Left", "Right", "*Hip *Knee *Ankle - - *Shoulder *Elbow *Wrist"), unit=1.0, up="z"),
    "MakeHuman": Skeleton(middle("root", ("spine05", "spine03", "spine01"), "neck01", "head") | limbs(
        "L", "R", "upperleg01.* lowerleg01.* foot.* toe1-1.* shoulder01.* upperarm01.* lowerarm01.* wrist.*"), (), (
        ("spine04", "spine03"), ("spine02", "spine01"), ("neck02", "head"), *(
            (f"{bone}.{side}", f"{behind}.{side}") for side in "LR" for bone, behind in (
                ("pelvis", "upperleg01"), ("upperleg02", "lowerleg01"), ("lowerleg02", "foot"),
                ("clavicle", "shoulder01"), ("upperarm02", "lowerarm01"), ("lowerarm02", "wrist")))), unit=0.1),
    "Auto-Rig Pro": Skeleton(middle("root.x", ("spine_01.x", "spine_02.x", "spine_03.x"), "neck.x", "head.x") | limbs(
        "l", "r", "thigh_twist.* leg_stretch.* foot.* toes_01.* shoulder.* arm_twist.* forearm_stretch.* hand.*"), (),
        tuple((f"{bone}.{side}", f"{behind}.{side}") for side in "lr" for bone, behind in (
            ("thigh_stretch", "leg_stretch"), ("leg_twist", "foot"), ("arm_stretch", "forearm_stretch"),
            ("forearm_twist", "hand"))), unit=1.0, up="z"),
    "mocopi": Skeleton(middle("root", ("torso_1", "torso_4", "torso_7"), "neck_1", "head") | limbs(
        "l", "r", "*_up_leg *_low_leg *_foot *_toes *_shoulder *_up_arm *_low_arm *_hand"), (), (
        ("torso_3", "torso_4"), ("torso_6", "torso_7"), ("neck_2", "head"))),
    "Roblox R15": Skeleton(middle("LowerTorso", (None, "UpperTorso", None), None, "Head") | limbs(
        "Left", "Right", "*UpperLeg *LowerLeg *Foot - - *UpperArm *LowerArm *Hand"), root="HumanoidRootPart", unit=0.3),
    "Advanced Skeleton": Skeleton(middle("Root_M", ("Spine1_M", "Spine2_M", "Chest_M"), "Neck_M", "Head_M") | limbs(
        "L", "R", "Hip_* Knee_* Ankle_* Toes_* Scapula_* Shoulder_* Elbow_* Wrist_*"), (
        ("Cup_L", "Wrist_L"), ("Cup_R", "Wrist_R")), tuple(
        (f"{bone}Part1_{side}", f"{behind}_{side}") for side in "LR" for bone, behind in (
            ("Hip", "Knee"), ("Knee", "Ankle"), ("Shoulder", "Elbow"), ("Elbow", "Wrist")))),
    "Talking With Hands": Skeleton(every(middle("root", ("spine0", "spine1", "spine3"), "neck0", "head") | limbs(
        "l", "r", "*_upleg *_leg *_foot - *_shoulder *_arm *_forearm *_wrist"), "b_*"), (), (
        *((f"b_{side}_{part}_twist", f"b_{side}_{part}") for side in "lr" for part in ("foot", "wrist")),),
        root="body_world"),
    "MMD, semi-standard": Skeleton(SKELETONS["mmd"].ours | dict(pelvis="腰"), rest="A", unit=0.08),
    "MMD, in English": Skeleton(middle("lower body", (None, "upper body", "upper body2"), "neck", "head") | limbs(
        "L", "R", "leg_* knee_* ankle_* toe_* shoulder_* arm_* elbow_* wrist_*"), root="center", rest="A", unit=0.08),
    "MMD in Blender": Skeleton(middle("下半身", (None, "上半身", "上半身2"), "首", "頭") | limbs(
        "L", "R", "足.* ひざ.* 足首.* - 肩.* 腕.* ひじ.* 手首.*"), root="センター", rest="A", unit=0.08, up="z"),
    "names in Chinese": Skeleton(middle("骨盆", ("脊柱1", "脊柱2", "胸"), "颈", "头") | limbs(
        "左", "右", "*大腿 *小腿 *脚 - *肩 *上臂 *前臂 *手")),
}


def walk(frames: int = 60, t_pose: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (T, J, 3, 3) and joints (T, J, 3) of a walk that turns to the left; frame 0 is a T-pose if
    asked."""
    time = np.arange(frames) / 30
    turns = np.zeros((frames, len(JOINT_NAMES), 3))
    swing = np.radians(28) * np.sin(2 * np.pi * time)
    for side, sign in (("left", 1), ("right", -1)):
        def joint(name: str, side: str = side) -> int:
            return JOINT_NAMES.index(f"{side}_{name}")
        turns[:, joint("hip"), 0] = -sign * swing
        turns[:, joint("knee"), 0] = np.radians(25) * (1 + sign * np.cos(2 * np.pi * time))
        turns[:, joint("shoulder"), 2] = -sign * np.radians(70)
        turns[:, joint("elbow"), 1] = -sign * np.radians(20 + 10 * np.sin(2 * np.pi * time))
    turns[:, JOINT_NAMES.index("spine2"), 1] = 0.15 * np.sin(2 * np.pi * time)
    heading = np.radians(20) * time
    if t_pose:
        turns[0], heading = 0, heading - heading[0]
    rotations = axis_angle_to_matrix(turns)
    rotations[:, 0] = y_rotation(heading)
    pelvis = np.stack([0.3 * np.sin(heading), 0.93 + 0.02 * np.cos(4 * np.pi * time), 1.2 * time], axis=-1)
    return rotations, forward_kinematics(rotations, pelvis)


def dressed(path: Path, skeleton: Skeleton, rotations: np.ndarray, pelvis: np.ndarray, fps: float = 30) -> np.ndarray:
    """Write a motion as a BVH on a tool's skeleton. Returns where its joints are (T, J, 3), metres, y up; NaN for
    none."""
    names, parents, ours, offsets = _tree(skeleton)
    turned = local_to_global(rotations)
    world = TO_Y[skeleton.up].T
    axes = _axes(skeleton, names, parents, ours, offsets)                    # (N, 3, 3)
    globals_ = turned[:, ours] @ axes                                        # (T, N, 3, 3)
    places = np.zeros((len(rotations), len(names), 3))
    for joint, parent in enumerate(parents):
        here = pelvis if not skeleton.root or joint else pelvis * [1, 0, 1]
        places[:, joint] = here if parent < 0 else places[:, parent] + turned[:, ours[parent]] @ offsets[joint]
        if skeleton.root and joint == 1:
            places[:, joint] = pelvis
    globals_ = world @ globals_ @ (world.T if skeleton.rest != "bones" else np.eye(3))
    lines = _written(skeleton, names, parents, globals_, places @ world.T / skeleton.unit, fps)
    path.write_text(lines, encoding="utf-8")
    found = np.full((len(rotations), len(JOINT_NAMES), 3), np.nan)
    for joint, name in enumerate(JOINT_NAMES):
        if theirs := skeleton.ours[name]:
            found[:, joint] = places[:, names.index(theirs)]
    return found


def _tree(skeleton: Skeleton) -> tuple[list[str], list[int], list[int], np.ndarray]:
    """Names, parents, which of ours turns each joint, and offsets (N, 3) in the T-pose."""
    names, parents, ours, offsets = [], [], [], []

    def add(name: str, parent: int, turner: int, offset: np.ndarray) -> int:
        names.append(name)
        parents.append(parent)
        ours.append(turner)
        offsets.append(offset)
        return len(names) - 1

    places = {-1: add(skeleton.root, -1, 0, np.zeros(3)) if skeleton.root else -1}
    hanging = {joint: [child for child, parent in enumerate(PARENTS) if parent == joint]
               for joint in range(-1, len(PARENTS))}
    cuts = {after: [name for name, bone in skeleton.split if bone == after] for _, after in skeleton.split}

    def grow(joint: int, parent: int, gap: np.ndarray, above: int) -> None:
        name = skeleton.ours[JOINT_NAMES[joint]]
        part = JOINT_NAMES[joint].split("_")[-1]
        bone = gap + (OFFSETS[joint] * PROPORTIONS.get(part, 1.0) if joint else 0)
        if name is not None:
            pieces = cuts.get(name, [])
            for piece in pieces:
                parent = add(piece, parent, above, bone / (len(pieces) + 1))
            parent, above, bone = add(name, parent, joint, bone / (len(pieces) + 1)), joint, np.zeros(3)
            for extra, hangs_on in skeleton.extra:
                if hangs_on == name:
                    leaf = add(extra, parent, joint, np.array([0.01, -0.02, 0.04]))
                    for further, last in skeleton.extra:
                        if last == extra:
                            add(further, leaf, joint, np.array([0.0, -0.02, 0.03]))
        for child in hanging[joint]:
            grow(child, parent, bone, above)

    grow(0, places[-1], np.zeros(3), 0)
    for extra, hangs_on in skeleton.extra:
        if hangs_on == skeleton.root:
            add(extra, 0, 0, np.array([0.1, 0.0, 0.0]))
    return names, parents, ours, np.array(offsets)


def _axes(skeleton: Skeleton, names: list[str], parents: list[int], ours: list[int], offsets: np.ndarray) -> np.ndarray:
    """How each joint's axes are turned in the T-pose (N, 3, 3): what the skeleton's own pose makes of them."""
    if skeleton.rest == "bones":                       # x points along the bone to the first child
        axes = []
        for joint in range(len(names)):
            below = [child for child, parent in enumerate(parents) if parent == joint]
            bone = offsets[below[0]] if below else offsets[joint]
            x = bone / max(np.linalg.norm(bone), 1e-9) if np.linalg.norm(bone) > 0 else np.array([0, 1.0, 0])
            z = np.cross(x, [0.1, 0.2, 1.0])
            z /= np.linalg.norm(z)
            axes.append(np.stack([x, np.cross(z, x), z], axis=-1))
        return np.array(axes)
    lowered = dict(T=0, A=45, N=85)[skeleton.rest]
    pose = np.zeros((len(JOINT_NAMES), 3))
    pose[JOINT_NAMES.index("left_shoulder"), 2], pose[JOINT_NAMES.index("right_shoulder"), 2] = -lowered, lowered
    for joint, turn in skeleton.pose.items():
        pose[JOINT_NAMES.index(joint)] = turn
    return local_to_global(axis_angle_to_matrix(np.radians(pose)))[ours].swapaxes(-1, -2)


def _written(skeleton: Skeleton, names: list[str], parents: list[int], globals_: np.ndarray, places: np.ndarray,
             fps: float) -> str:
    local = globals_.copy()
    offsets = np.zeros_like(places[0])
    for joint, parent in enumerate(parents):
        if parent >= 0:
            local[:, joint] = globals_[:, parent].swapaxes(-1, -2) @ globals_[:, joint]
            offsets[joint] = globals_[0, parent].T @ (places[0, joint] - places[0, parent])
    moving = [joint for joint, parent in enumerate(parents) if parent < 0 or skeleton.root and joint == 1]
    order, lines, columns = [], ["HIERARCHY"], []

    def write(joint: int, indent: str) -> None:
        order.append(joint)
        channels = [f"{axis}position" for axis in "XYZ"] if joint in moving else []
        channels += [f"{axis}rotation" for axis in skeleton.order]
        x, y, z = offsets[joint]
        lines.extend([f"{indent}{'JOINT' if indent else 'ROOT'} {names[joint]}", f"{indent}{{",
                      f"{indent}\tOFFSET {x:.6f} {y:.6f} {z:.6f}", f"{indent}\tCHANNELS {len(channels)} "
                                                                   f"{' '.join(channels)}"])
        below = [child for child, parent in enumerate(parents) if parent == joint]
        for child in below:
            write(child, indent + "\t")
        if not below:
            lines.extend([f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\tOFFSET 0 0 0", f"{indent}\t}}"])
        lines.append(f"{indent}}}")

    write(0, "")
    for joint in order:
        if joint in moving:
            above = parents[joint]
            here = places[:, joint] if above < 0 else (
                globals_[:, above].swapaxes(-1, -2) @ (places[:, joint] - places[:, above])[..., None])[..., 0]
            columns.append(here)
        angles = Rotation.from_matrix(local[:, joint]).as_euler(skeleton.order, degrees=True)
        columns.append(angles)
    rows = "\n".join(" ".join(f"{value:.5f}" for value in row) for row in np.concatenate(columns, axis=1))
    return "\n".join([*lines, "MOTION", f"Frames: {len(places)}", f"Frame Time: {1 / fps:.6f}", rows, ""])
