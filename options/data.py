"""Which data set, and where it lies."""

from dataclasses import dataclass
from pathlib import Path

from options import opt

DATASETS = ("t2m_272", "t2m_babel_272", "mocap_272")
DATASETS_263 = ("humanml3d_263", "motionx_263")


@dataclass(frozen=True)
class Data:
    """A data set."""

    name: str = opt("t2m_272", "data set; those of 263 channels are for MoSa", flag="dataname",
                    choices=(*DATASETS, *DATASETS_263))
    root: Path | str | None = opt(None, "folder that contains motion_data/ or new_joint_vecs/; None: the published "
                                  "name, here", flag="data-root")


@dataclass(frozen=True)
class Data272(Data):
    """A data set of 272 channels."""

    name: str = opt("t2m_272", "data set", flag="dataname", choices=DATASETS)
