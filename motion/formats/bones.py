"""What tools call the 22 joints, in our order: with these names a rig maps itself.

smpl     SMPL's own, as everywhere here
mixamo   Mixamo's, which Unity, Unreal's and Blender's retargeting tools know
vrm      VRM 1.0's humanoid bones, of web avatars
"""

from motion.skeleton import JOINT_NAMES

BONES = {
    "smpl": JOINT_NAMES,
    "mixamo": tuple(f"mixamorig:{name}" for name in (
        "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot", "Spine2",
        "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm",
        "LeftForeArm", "RightForeArm", "LeftHand", "RightHand")),
    "vrm": (
        "hips", "leftUpperLeg", "rightUpperLeg", "spine", "leftLowerLeg", "rightLowerLeg", "chest", "leftFoot",
        "rightFoot", "upperChest", "leftToes", "rightToes", "neck", "leftShoulder", "rightShoulder", "head",
        "leftUpperArm", "rightUpperArm", "leftLowerArm", "rightLowerArm", "leftHand", "rightHand"),
}
