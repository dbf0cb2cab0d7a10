"""What a user can cause. Each message says what was asked, what was found and what to do next, in one line."""

from __future__ import annotations


class LivepasteError(Exception):
    """Base of every error that ends a command with exit code 1 and one line."""


class OptionError(LivepasteError, ValueError):
    """An option or setting has a value that is not known; the command exits with 2."""


class ClipError(LivepasteError, OSError):
    """A clip or picture cannot be read or written."""


class FaceSetError(LivepasteError, ValueError):
    """A face set is missing, altered, too small or of a newer format."""


class HostileFileError(FaceSetError):
    """A file that is imported asks for something to be run."""


class CheckpointError(LivepasteError, ValueError):
    """A checkpoint is missing, altered, of a newer format or of another resolution."""


class DeviceError(LivepasteError, OSError):
    """A camera, virtual camera or window cannot be used."""


class TruthError(LivepasteError, ValueError):
    """A truth folder is incomplete or does not fit the output that is measured."""


class TrainingError(LivepasteError, RuntimeError):
    """Training cannot start or go on."""
