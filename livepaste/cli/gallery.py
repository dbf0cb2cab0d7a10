"""People as they are named on the command line: face sets, clips and photos, and what they look like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from livepaste.cli.sources import files_of, is_photo, refuse_unread
from livepaste.errors import ClipError, FaceSetError
from livepaste.faceset import read_faceset, read_info
from livepaste.identity import FEWEST_PICTURES, Known, known
from livepaste.options import EvalOptions
from livepaste.who_run import FACES, known_of

MOMENTS, EVERY, SIDE = 24, 30, 256  # that a photo is performed in, so many frames apart; pixels of the crops
HELD_OUT = 0.05  # of a face set, where a model does not say it
Seen = tuple[np.ndarray, np.ndarray]  # a picture and its mesh points


def persona_of(model: dict[str, Any]) -> str:
    """The name of whom a model shows."""
    return str(model.get("persona", {}).get("person", "?"))


def known_to(options: EvalOptions, model: dict[str, Any]) -> dict[str, Known]:
    """What is known of the persona and of others by the settings. Raises FaceSetError where ``--persona`` shows somebody else.

    Whoever of ``--gallery`` has the persona's name is left out: it may be what the swapper was trained on.
    """
    persona = persona_of(model)
    known = people(options.gallery, without=persona)
    if options.persona:
        faceset = read_faceset(options.persona)
        if faceset.info.person != persona:
            raise FaceSetError(
                f"--persona {options.persona}: shows {faceset.info.person}, the model {persona}; name the face set that it was trained on"
            )
        known[persona] = known_of(faceset, float(model.get("recipe", {}).get("held_out", HELD_OUT)))
    return known


def people(sources: list[str], without: str = "") -> dict[str, Known]:
    """What a gallery learns of each, by name; not of who is called ``without``. A photo is performed: one picture tells nothing of how
    a face changes.

    Files are called by their stems. Raises ClipError or FaceSetError for a source that shows too few faces, or whose name another folder's
    file has too, which may be somebody else.
    """
    made: dict[str, Known] = {}
    folders: dict[str, Path] = {}
    for source in each(sources):
        is_set = (source / "faceset.json").exists()
        name = read_info(source).person if is_set else source.stem
        if name == without:
            continue
        if not is_set and (other := folders.setdefault(name, source.parent)) != source.parent:
            raise ClipError(f"{source}: {other} has a {name} too; give one of the files another name")
        if is_set:
            of = known_of(read_faceset(source), None)
        else:
            of = known(_performed(source) if is_photo(source) else faces_in(source))
        if len(of.fit) < FEWEST_PICTURES or not len(of.control):
            raise FaceSetError(
                f"{source}: too few faces in it to know anybody by; name a longer clip or a larger face set"
            )
        if name in made:
            of = Known(*(np.concatenate(parts) for parts in zip(made[name], of, strict=True)))
        made[name] = of
    return made


def faces_in(source: Path) -> Iterator[Seen]:
    """The faces of a photo, a clip or a face set, spread over it: of a clip, each frame's first."""
    if (source / "faceset.json").exists():
        faceset = read_faceset(source)
        every = max(1, -(-len(faceset) // FACES))
        yield from ((faceset.image(row), row.crop_points()) for row in faceset.rows[::every])
    elif is_photo(source):
        from livepaste.extract import read_photo
        from livepaste.finder import find_in_photo

        image = read_photo(source).image
        yield from ((image, face.points_xyz) for face in find_in_photo(image)[:1])
    else:
        from livepaste.devices.video import ClipReader
        from livepaste.finder import Finder

        with ClipReader(source) as reader, Finder(max_faces=1) as find:
            every = max(1, reader.frames_estimate // FACES)
            for frame in reader.frames():
                if frame.index % every == 0 and (faces := find(frame)):
                    yield frame.image, faces[0].points_xyz


def each(sources: list[str]) -> Iterator[Path]:
    """Face sets, and files; what lies in other folders one by one."""
    for source in sources:
        path = Path(source)
        if (path / "faceset.json").exists():
            yield path
        elif path.is_dir() and (sets := sorted(p.parent for p in path.glob("*/faceset.json"))):
            yield from sets
        else:
            for file in files_of([source]):
                refuse_unread(file)
                yield file


def _performed(photo: Path) -> Iterator[Seen]:
    from livepaste.actors.motion import perform
    from livepaste.actors.photo import PhotoActor

    faces = list(faces_in(photo))
    if not faces:
        raise ClipError(f"{photo}: no face found; give a sharp, near-frontal photo")
    actor = PhotoActor(*faces[0], name=photo.stem)
    performance = perform(9200, MOMENTS * EVERY)
    for i in range(MOMENTS):
        shot = actor.render_crop(performance, i * EVERY, SIDE, background_seed=i)
        yield shot.image, shot.points_xyz
