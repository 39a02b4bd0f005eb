"""Make a data set from motion capture.

    python -m dataset.prepare bandai-namco --source bandai_namco.tar.xz --out data/bandai_namco_272
    python -m dataset.prepare cmu --source cmu.tar.xz cmu_extra.tar.xz --out data/cmu_272
    python -m dataset.prepare snu --source snu.tar.xz --out data/snu_272
    python -m dataset.prepare compose --source data/bandai_namco_272 data/cmu_272 data/snu_272 --out data/composed_272
    python -m dataset.prepare merge --source data/{bandai_namco,cmu,snu,composed}_272 --out data/mocap_272
    python -m dataset.prepare stream --source data/mocap_272 --out data/mocap_272_stream
    python -m dataset.prepare amass --source AMASS --texts texts --out data/amass_272
    python -m dataset.prepare bvh-folder --source captures --out data/mine_272
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

from dataset.prepare import amass, bandai_namco, bvh_folder, cmu, snu
from dataset.prepare.archive import unpacked
from dataset.prepare.compose import prepare_composed
from dataset.prepare.folder import merge, prepare, say_empty_splits, with_val
from dataset.prepare.stream import prepare_pairs
from motion.formats.capture import TO_Y
from utils.errors import run


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dataset.prepare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, help in (("bandai-namco", "Bandai-Namco-Research-Motiondataset 1 and 2"),
                       ("cmu", "CMU Graphics Lab Motion Capture Database"),
                       ("snu", "captures of the Movement Research Lab, Seoul National University"),
                       ("amass", "AMASS, SMPL-H or SMPL-X npz"),
                       ("bvh-folder", "your own BVH or AMC files, of any skeleton"),
                       ("merge", "join prepared data sets"),
                       ("compose", "clips that do two things, of prepared data sets' clips"),
                       ("stream", "pairs of a prepared data set's clips, to train streams")):
        kind = kinds.add_parser(name, help=help, allow_abbrev=False)
        many = name in ("cmu", "merge", "compose")
        source = {"cmu": "archives (.tar, .tar.xz, .zip) or folders", "merge": "prepared folders",
                  "compose": "prepared folders", "stream": "a prepared folder"}
        kind.add_argument("--source", type=Path, required=True, nargs="+" if many else None,
                          help=source.get(name, "an archive (.tar, .tar.xz, .zip) or a folder"))
        kind.add_argument("--out", type=Path, required=True,
                          help="the data set's folder; an earlier one is replaced")
        if name != "merge":
            kind.add_argument("--workers", type=int, default=None,
                              help="processes (default: one for each core)")
        if name == "cmu":
            kind.add_argument("--descriptions", type=Path, nargs="+",
                              help="csv files with the columns trial, description, subject, besides those "
                              "in the sources (default: cmu_descriptions.csv beside the sources)")
            kind.add_argument("--captions", type=Path, nargs="+", help="HumanML3D's captions of these trials "
                              "(default: the humanml3d_for_cmu*.json beside the sources)")
            kind.add_argument("--fps", type=float, default=cmu.AMC_FPS, help="frames per second of AMC files, which do "
                              "not say theirs, where no description does (default: %(default)g)")
        if name == "compose":
            kind.add_argument("--sequences", type=int, default=5000,
                              help="clips of two or three parts for train; val gets a tenth (default: %(default)s)")
            kind.add_argument("--together", type=int, default=2500,
                              help="clips that do two things at once, likewise (default: %(default)s)")
        if name == "stream":
            kind.add_argument("--pairs", type=int, default=4000,
                              help="pairs of train; val gets a tenth (default: %(default)s)")
        if name == "amass":
            kind.add_argument("--texts", type=Path, help="a folder of captions NAME.txt "
                              "(default: captions from the names of the folders)")
        if name in ("amass", "bvh-folder"):
            kind.add_argument("--val", type=int, default=0,
                              help="captures that val gets at least, of train's (default: %(default)s)")
            kind.add_argument("--up", default="auto", choices=("auto", *TO_Y),
                              help="the axis of the files that points up (default: the one along which the body "
                                   "stands)")
            kind.add_argument("--fps", type=float, help="frames per second (default: what each file says)")
            kind.add_argument("--unit", type=float, help="metres in the files' unit, of an npz in its path's (default: "
                              "from the legs' length; of an npz metres, or what its scale says)")
        if name == "bvh-folder":
            kind.add_argument("--skeleton-map", "--skeleton", default="auto",
                              help="a map's name, or the path of its JSON file (default: each file's is found out)")
            kind.add_argument("--rest-frame", type=int, help="the number of a frame in T-pose (default: the skeleton's "
                              "own pose, or the straightest frame)")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.kind == "merge":
        merge(arguments.source, arguments.out)
        say_empty_splits(arguments.out)
        return
    if arguments.kind == "compose":
        return prepare_composed(arguments.source, arguments.out, arguments.sequences, arguments.together,
                                arguments.workers)
    if arguments.kind == "stream":
        return prepare_pairs(arguments.source, arguments.out, arguments.pairs, arguments.workers)
    given = arguments.source if isinstance(arguments.source, list) else [arguments.source]
    with ExitStack() as stack:
        sources = [stack.enter_context(unpacked(source)) for source in given]
        source = sources[0]
        match arguments.kind:
            case "bandai-namco":
                found = bandai_namco.trials(source)
            case "cmu":
                descriptions, captions = cmu.texts_beside(given)
                found = cmu.trials(sources, arguments.descriptions or descriptions,
                                   cmu.read_humanml3d(arguments.captions or captions), arguments.fps)
            case "snu":
                found = snu.trials(source)
            case "amass":
                found = amass.trials(source, arguments.texts, up=arguments.up, fps=arguments.fps, unit=arguments.unit)
            case "bvh-folder":
                found = bvh_folder.trials(source, arguments.skeleton_map, up=arguments.up, fps=arguments.fps,
                                          unit=arguments.unit, rest_frame=arguments.rest_frame)
        trials, skipped = found
        prepare(with_val(trials, getattr(arguments, "val", 0)), skipped, arguments.out, arguments.workers)
    say_empty_splits(arguments.out)


if __name__ == "__main__":
    run(main)
