"""One small, whole example of everything that livepaste reads: what the fuzzer breaks and the benches train on."""

from __future__ import annotations

import pickle
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

SIZE = (160, 120)
RECIPE = """[recipe]
model = "light"
resolution = 64
coverage = 1.9
batch = 4
lr = 0.0015
warp = 1.0
optimizer = "adam"
steps_per_dispatch = 2
"""
SETTINGS = """mask = "hull"
feather = 0.05
color = "skin"
opacity = 1.0
offset = [0.0, 0.0]
scale = 1.0
face = "auto"
"""


def make_training(folder: Path) -> None:
    """``faceset``, ``other`` and ``recipe.toml``: what a training of seconds needs."""
    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.faces import write_faces

    for name, seed in (("faceset", 8201), ("other", 8202)):
        write_faces(folder / name, DrawnActor(seed), 1, 60, person=name, every=7, side=64)
    (folder / "recipe.toml").write_text(RECIPE)


def make_foreign(folder: Path) -> None:
    """Faces as DeepFaceLab and faceswap store them, one of each, and in ``packed`` two in a ``faceset.pak``."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from foreign_files import cut, dfl_dict, dfl_jpeg, faceswap_png, jpeg_with, pak, write

    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.motion import perform

    performance = perform(4, 80)
    shots = [DrawnActor(8201).render(performance, i * 20, (480, 360)) for i in range(4)]
    picture, told = dfl_dict(shots[0], 0, mask=cut(shots[0], 128)[1])
    outline = cv2.convexHull(cut(shots[0])[2].astype(np.float32))[:, 0].tolist()
    told["seg_ie_polys"] = [[1, outline], [0, outline[:4]]]  # the older way, in which every number can be another thing
    drawn = jpeg_with(picture, pickle.dumps(told, 4))
    write(folder, {"00000_0.jpg": drawn, "film_000020_0.png": faceswap_png(shots[1], 20)})
    faces = [(f"{i:05d}_0.jpg", shots[i], dfl_jpeg(shots[i], i)) for i in (2, 3)]
    write(folder / "packed", {"faceset.pak": pak(faces, person="someone")})


def make_whole(folder: Path) -> None:
    """A training with its ``checkpoint``, ``clip.mp4``, ``photo.png``, ``settings.toml``, a ``truth`` folder, an ``occlusion`` network, and
    ``aligned`` faces of other programs."""
    from livepaste_train.fit import Trainer
    from livepaste_train.options import TrainOptions

    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.motion import perform
    from livepaste.actors.truth import write_truth
    from livepaste.checkpoint import shipped
    from livepaste.devices.video import write_video

    make_training(folder)
    make_foreign(folder / "aligned")
    shutil.copytree(shipped("occlusion"), folder / "occlusion" / "generations" / "000001")
    (folder / "settings.toml").write_text(SETTINGS)
    options = TrainOptions(persona=str(folder / "faceset"), wearer=[str(folder / "other")], to=str(folder / "checkpoint"),
                           recipe=str(folder / "recipe.toml"), steps=1, from_="none")  # fmt: skip
    trainer = Trainer(options, lambda progress: None)
    # a checkpoint like any other that has learned nothing: compiling a step would take longer than all the rest
    trainer.dispatch = lambda state, data: (state._replace(step=state.step + 2), {"loss": np.float32(0.5)})
    trainer.run()
    persona, wearer, performance = DrawnActor(8201), DrawnActor(8202), perform(1, 8)
    tone = (0.1 * np.sin(np.arange(48_000 // 2) / 20)).astype(np.float32)
    frames = (wearer.render(performance, i, SIZE).image for i in range(8))
    write_video(folder / "clip.mp4", frames, Fraction(16), SIZE, tone)
    photo = wearer.render(performance, 0, (320, 240)).image
    cv2.imwrite(str(folder / "photo.png"), cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))
    write_truth(folder / "truth", persona, wearer, seed=1, frames=4, fps=Fraction(16), size_wh=SIZE, train_frames=2,
                names=("persona", "wearer"), write_video=write_video)  # fmt: skip
