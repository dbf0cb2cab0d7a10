"""``livepaste who``: the people of a gallery that a face is most like."""

from __future__ import annotations

from livepaste.options import WhoOptions


def run(options: WhoOptions) -> None:
    import cv2
    import numpy as np

    from livepaste.cli.gallery import each, faces_in, people
    from livepaste.errors import ClipError
    from livepaste.identity import best, fit, gallery
    from livepaste.likeness import samples

    cv2.setNumThreads(1)
    known = gallery(people(options.gallery))
    classifier = fit(known)
    looked = 0
    for source in each(options.sources):
        shown = [samples(image, points) for image, points in faces_in(source)]
        looked += len(shown)
        if not shown:
            print(f"{source}: no face found")
            continue
        told = ", ".join(f"{name} {score:.2f}" for name, score in best(classifier, np.stack(shown)))
        print(f"{source}: {told} ({len(shown)} faces, {len(known)} people)")
    if not looked:
        raise ClipError("no face found in any of them; name photos or clips in which a face is 48 pixels wide and more")
