"""``livepaste faceset``: look at face sets, put them together and apart, import those of other programs."""

from __future__ import annotations

from pathlib import Path

from livepaste.faceset_options import FacesetOptions


def run(options: FacesetOptions) -> None:
    if options.action == "import":
        from livepaste.cli.faceset_import import run as run_import

        return run_import(options)
    from livepaste.coverage import missing, tables
    from livepaste.errors import FaceSetError
    from livepaste.faceset import read_faceset
    from livepaste.faceset_work import entry, merge, ordered, split, summary
    from livepaste.pages import write_page

    facesets = [read_faceset(path) for path in options.facesets]
    faceset = facesets[0]
    if options.action == "info":
        told = summary(faceset)
        if faceset.rows:
            told["to film in addition"] = "; ".join(missing(*tables(faceset.rows, faceset.info.size))) or "nothing"
        width = max(map(len, told))
        for name, words in told.items():
            print(f"{name:{width}}  {words}")
    elif options.action == "sort":
        by = options.by or "yaw"
        if not faceset.rows:
            raise FaceSetError(f"{faceset.path}: holds no face")
        faces = [entry(faceset, row, words) for row, words in ordered(faceset, by)]
        page = Path(options.to or faceset.path) / f"by_{by}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        group = {"reason": f"all by {by}", "count": len(faces), "faces": faces}
        title = f"Faces of {faceset.info.person}"
        write_page(page, "faces.html", title=title, summary=f"{faceset.path}", groups=[group], kept=[])
        print(f"{page}: {len(faces)} faces by {by}")
    elif options.action == "merge":
        count = merge(facesets, Path(str(options.to)))
        print(
            f"{options.to}: {count} faces of {faceset.info.person}; faces that are alike are found by livepaste clean --reasons twin"
        )
    else:
        parts = split(faceset, Path(str(options.to)), options.by or "source")
        for name, count in parts.items():
            print(f"{Path(str(options.to)) / name}: {count} faces")
