"""A network that looks at aligned crops, loaded from a checkpoint: checked for being what its facts say, and aligned as this program aligns."""

from __future__ import annotations

from livepaste.align import CENTER, TEMPLATE
from livepaste.checkpoint import Generation
from livepaste.errors import CheckpointError
from livepaste.jsons import parse
from livepaste.runtime import Session

FACTS = ("resolution", "coverage", "center", "template", "persona", "wearers")


class CropModel:
    """``session`` takes ``crop`` (1, 3, ``size``, ``size``), ``coverage`` template units wide. Raises CheckpointError for anything else.

    ``kind``: what it has to be, for the message; ``outputs``: what it must give.
    """

    def __init__(
        self,
        generation: Generation,
        file: str,
        kind: str,
        outputs: list[str],
        *,
        threads: int = 1,
        provider: str = "auto",
    ) -> None:
        self.session = Session(generation.path / file, threads=threads, provider=provider)
        where, model = generation.path, generation.model
        missing = [name for name in outputs if name not in self.session.outputs]
        shape = self.session.inputs.get("crop")
        square = shape is not None and len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3]
        if missing or shape is None or not square or not isinstance(shape[2], int):
            raise CheckpointError(
                f"{where}: {file} has inputs {self.session.inputs} and outputs {self.session.outputs}, not {kind}'s"
            )
        self.size: int = shape[2]
        if model.get("resolution") != self.size:
            raise CheckpointError(
                f"{where}: model.json says resolution {model.get('resolution')}, {file} {self.size}; copy it again"
            )
        if model.get("template") != TEMPLATE or model.get("center") != list(CENTER):
            raise CheckpointError(
                f"{where}: aligned to template {model.get('template')!r}, this version uses {TEMPLATE!r}; train again"
            )
        coverage = model.get("coverage")
        if not isinstance(coverage, (int, float)) or not 0.5 <= coverage <= 8:
            raise CheckpointError(
                f"{where}: coverage {coverage!r} in model.json is not usable; copy the checkpoint again"
            )
        self.coverage = float(coverage)
        self._check_facts(generation, file)

    def _check_facts(self, generation: Generation, file: str) -> None:
        """What no hash is of: ``model.json`` says the same as the model that was exported with it."""
        try:
            exported = parse(self.session.metadata.get("livepaste", "{}"))
        except ValueError:
            exported = None
        if not isinstance(exported, dict):
            raise CheckpointError(
                f"{generation.path / file}: what it says of itself is damaged; copy the checkpoint again"
            )
        for name in FACTS:
            if name in exported and exported[name] != generation.model.get(name):
                raise CheckpointError(
                    f"{generation.path}: model.json says {name} {generation.model.get(name)!r}, {file} {exported[name]!r}; copy it again"
                )
