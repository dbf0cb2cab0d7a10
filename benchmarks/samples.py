"""One small, whole example of everything that livepaste reads: what the fuzzer breaks and the benches train on."""

from __future__ import annotations

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
color = "mean-std"
opacity = 1.0
offset = [0.0, 0.0]
scale = 1.0
face = "auto"
"""


def make_faceset(path: Path, seed: int, count: int, side: int) -> None:
    """A face set of drawn actor ``seed``, straight from its crops."""
    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.motion import perform
    from livepaste.align import pose_degrees
    from livepaste.faceset import FaceRow, FaceSetInfo, append_face, write_info

    performance, actor = perform(1, 7 * count), DrawnActor(seed)
    write_info(path, FaceSetInfo(person=path.name, consent="synthetic", size=side))
    for i in range(count):
        shot = actor.render_crop(performance, 7 * i, side)
        row = FaceRow(name=f"{i:06d}", source="drawn", time_s=i / 25, points_xyz=shot.points_xyz,
                      frame_to_crop=np.eye(2, 3, dtype=np.float32), pose=pose_degrees(shot.points_xyz), sharpness=100.0,
                      exposure=0.5, width_px=60.0)  # fmt: skip
        append_face(path, row, shot.image, shot.mask)


def make_training(folder: Path) -> None:
    """``faceset``, ``other`` and ``recipe.toml``: what a training of seconds needs."""
    for name, seed in (("faceset", 8201), ("other", 8202)):
        make_faceset(folder / name, seed, 60, 64)
    (folder / "recipe.toml").write_text(RECIPE)


def make_whole(folder: Path) -> None:
    """A training with its ``checkpoint``, ``clip.mp4``, ``photo.png``, ``settings.toml`` and a ``truth`` folder."""
    from livepaste_train.fit import Trainer
    from livepaste_train.options import TrainOptions

    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.motion import perform
    from livepaste.actors.truth import write_truth
    from livepaste.devices.video import write_video

    make_training(folder)
    (folder / "settings.toml").write_text(SETTINGS)
    options = TrainOptions(persona=str(folder / "faceset"), wearer=[str(folder / "other")], to=str(folder / "checkpoint"),
                           recipe=str(folder / "recipe.toml"), steps=1, from_="none")  # fmt: skip
    Trainer(options, lambda progress: None).run()
    persona, wearer, performance = DrawnActor(8201), DrawnActor(8202), perform(1, 8)
    tone = (0.1 * np.sin(np.arange(48_000 // 2) / 20)).astype(np.float32)
    frames = (wearer.render(performance, i, SIZE).image for i in range(8))
    write_video(folder / "clip.mp4", frames, Fraction(16), SIZE, tone)
    photo = wearer.render(performance, 0, (320, 240)).image
    cv2.imwrite(str(folder / "photo.png"), cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))
    write_truth(folder / "truth", persona, wearer, seed=1, frames=4, fps=Fraction(16), size_wh=SIZE, train_frames=2,
                names=("persona", "wearer"), write_video=write_video)  # fmt: skip
