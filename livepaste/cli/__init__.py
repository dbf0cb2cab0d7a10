"""The command line: one verb per module, each imported only when it is called.

Only this package prints. Results go to stdout, progress and logs to stderr. Exit codes: 0, 1 for a
LivepasteError or a fault of the program (no trace but with --verbose), 2 for usage, 130 when interrupted.
"""

from __future__ import annotations

import dataclasses
import errno
import importlib
import inspect
import logging
import os
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

import livepaste
from livepaste.errors import LivepasteError, OptionError

# what helps when the system refuses
_HELPS = {
    errno.ENOSPC: "free some space and run it again, with --resume if it has that",
    errno.EDQUOT: "free some space and run it again, with --resume if it has that",
    errno.EACCES: "name a place that is yours to write, or get its owner's leave",
    errno.EPERM: "name a place that is yours to write, or get its owner's leave",
    errno.EROFS: "name a place that can be written",
    errno.ENOENT: "is the folder there?",
}
# verb -> the dataclass of its options (its module `livepaste.cli.<verb>` has `run(options) -> None`), one line of help
VERBS: dict[str, tuple[str, str]] = {
    "extract": ("livepaste.options:ExtractOptions", "clips and photos to a face set"),
    "clean": ("livepaste.faceset_options:CleanOptions", "move faces aside that are better not trained on"),
    "faceset": (
        "livepaste.faceset_options:FacesetOptions",
        "info, sort, merge and split of face sets, import of others'",
    ),
    "train": ("livepaste_train.options:TrainOptions", "two face sets to a checkpoint"),
    "report": ("livepaste.options:ReportOptions", "a page about a training, also while it runs"),
    "train-occlusion": ("livepaste_train.options:OcclusionOptions", "your faces and hands to an occlusion network"),
    "latent": ("livepaste_train.options:LatentOptions", "what a checkpoint makes of faces, as one page"),
    "clip": ("livepaste.options:ClipOptions", "swap the face in a recorded clip"),
    "live": ("livepaste.options:LiveOptions", "swap the face at the camera into a virtual camera"),
    "devices": ("livepaste.options:DevicesOptions", "what this machine has: cameras, virtual cameras, accelerators"),
    "actors": ("livepaste.options:ActorsOptions", "make a truth folder of people who do not exist"),
    "measure": ("livepaste.options:MeasureOptions", "compare an output with its truth"),
    "who": ("livepaste.options:WhoOptions", "who a face is most like, of a gallery"),
    "eval": ("livepaste.options:EvalOptions", "swap, measure, and report on a checkpoint"),
}


def _leaves(options_class: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Every field of the dataclass and of those nested in it, with its resolved type."""
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _leaves(typing.cast(type, hints[field.name]))
        else:
            yield field, hints[field.name]


def _build(options_class: type, values: dict[str, Any]) -> Any:
    """The dataclass, and those nested in it, from flat values; its own checks run here."""
    hints = typing.get_type_hints(options_class)
    kwargs = {}
    for field in dataclasses.fields(options_class):
        if dataclasses.is_dataclass(hints[field.name]):
            kwargs[field.name] = _build(typing.cast(type, hints[field.name]), values)
        elif field.name in values:
            kwargs[field.name] = values[field.name]
    return options_class(**kwargs)


def _is_list(hint: Any) -> bool:
    return any(typing.get_origin(kind) is list for kind in (hint, *typing.get_args(hint)))


def _command(name: str, options_class: type) -> Callable[..., None]:
    """A function whose signature is the dataclass: what cyclopts reads, and runs with the parsed values."""
    parameters = []
    for field, hint in _leaves(options_class):
        meta = field.metadata
        default = inspect.Parameter.empty
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        about: dict[str, Any] = {"help": meta.get("help", ""), "negative_iterable": ()}
        if meta.get("flag"):
            about["name"] = meta["flag"]
        kind = inspect.Parameter.KEYWORD_ONLY
        if _is_list(hint):
            about["consume_multiple"] = True
        if meta.get("positional"):
            kind = inspect.Parameter.POSITIONAL_ONLY
            if typing.get_origin(hint) is list:
                kind, default, hint = (
                    inspect.Parameter.VAR_POSITIONAL,
                    inspect.Parameter.empty,
                    typing.get_args(hint)[0],
                )
        parameters.append(
            inspect.Parameter(field.name, kind, default=default, annotation=Annotated[hint, Parameter(**about)])
        )
    parameters.sort(key=lambda p: (p.kind, p.default is not inspect.Parameter.empty))

    def command(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        values = {key: list(v) if signature.parameters[key].kind is inspect.Parameter.VAR_POSITIONAL else v
                  for key, v in bound.arguments.items()}  # fmt: skip
        importlib.import_module(f"livepaste.cli.{name.replace('-', '_')}").run(_build(options_class, values))

    signature = inspect.Signature(parameters)
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__name__ = name
    return command


def _app(argv: list[str]) -> App:
    """The app; only the verb that is asked for gets its parameters, so that help stays instant."""
    about = (
        f"{(livepaste.__doc__ or '').splitlines()[0]} With --verbose anywhere: what it does, and the trace of an error."
    )
    app = App(name="livepaste", version=livepaste.__version__, help=about, suppress_keyboard_interrupt=False)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, (target, help) in VERBS.items():
        if name == chosen:
            module, _, attribute = target.partition(":")
            app.command(_command(name, getattr(importlib.import_module(module), attribute)), name=name, help=help)
        else:
            app.command(lambda: None, name=name, help=help)
    return app


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    if argv is None:
        _keep_stderr()
    argv = list(sys.argv[1:] if argv is None else argv)
    verbose = "--verbose" in argv
    argv = [word for word in argv if word != "--verbose"]
    if not verbose:  # OpenCV would add lines of its own to each camera that cannot be opened
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr
    )
    try:
        _app(argv)(argv, exit_on_error=False, print_error=False, result_action="return_value")
    except (CycloptsError, OptionError) as error:
        return _fail(error, 2, verbose)
    except LivepasteError as error:
        return _fail(error, 1, verbose)
    except KeyboardInterrupt:
        print("livepaste: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `livepaste … | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a missing right
        return _fail(error, 1, verbose)
    except ImportError as error:  # of a checkout without all of what it depends on
        return _fail(error, 1, verbose, "something that it needs is not installed: ")
    except MemoryError as error:
        return _fail(error, 1, verbose, "there is not enough memory for it ")
    except Exception as error:  # nobody foresaw it, which is no reason to show a user a trace
        _fail(error, 1, verbose, f"unexpected {type(error).__name__}: ")
        if not verbose:
            print("livepaste: that is a fault of the program; --verbose shows where, for a report", file=sys.stderr)
        return 1
    return 0


def _keep_stderr() -> None:
    """Lets Python's own errors and logs past those who point the process's standard error elsewhere: mediapipe's graphs are started on
    threads with it muted, and what is said meanwhile would be lost."""
    try:
        sys.stderr = os.fdopen(
            os.dup(sys.stderr.fileno()), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace"
        )
    except (OSError, ValueError, AttributeError):  # there is none
        return


def _fail(error: BaseException, code: int, verbose: bool, before: str = "") -> int:
    if verbose:
        import traceback

        traceback.print_exception(error)
    words = _words(error) if isinstance(error, OSError) and error.strerror else str(error)
    print(f"livepaste: {before}{' '.join(words.split())}", file=sys.stderr)
    return code


def _words(error: OSError) -> str:
    """The file that it is about, the system's own words, and what helps."""
    where = f"{error.filename}: " if error.filename else ""
    helps = f"; {_HELPS[error.errno]}" if error.errno in _HELPS else ""
    return f"{where}{error.strerror}{helps}"
