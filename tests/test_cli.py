import errno
import os
import subprocess
import sys

import pytest

from livepaste import cli
from livepaste.cli import VERBS, main


def test_help_and_version(capsys: pytest.CaptureFixture) -> None:
    assert main(["--version"]) == 0
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(verb in told for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "fly"),
        (["clip", "a.mp4", "b.mp4", "--speed", "2"], "--speed"),
        (
            ["train", "--persona", "a", "--wearer", "b", "--to", "c", "--steps", "5", "--for", "2m"],
            "exclude each other",
        ),
        (["train", "--persona", "a", "--wearer", "b", "--to", "c", "--steps", "0"], "steps must be between 1"),
        (["extract", "x.mp4", "--to", "f", "--person", "p", "--consent", "maybe"], "maybe"),
    ],
)
def test_usage_errors_exit_with_2_in_one_line(capsys: pytest.CaptureFixture, words: list[str], message: str) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err.strip()
    assert message in told
    assert len(told.splitlines()) == 1


def test_a_fault_of_the_program_is_two_lines_and_no_trace(monkeypatch, capsys) -> None:
    def broken(options: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("livepaste.cli.devices.run", broken)
    assert main(["devices"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "livepaste: unexpected KeyError: 'oops'",
        "livepaste: that is a fault of the program; --verbose shows where, for a report",
    ]
    assert main(["devices", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="descriptors")
def test_errors_are_said_also_while_native_code_is_muted() -> None:
    """mediapipe's graphs start on threads, with the process's standard error pointed at nothing meanwhile."""
    code = (
        "import os, sys\n"
        "from livepaste import cli\n"
        "import livepaste.cli.devices as verb\n"
        "from livepaste.errors import DeviceError\n"
        "def run(options):\n"
        "    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n"
        "    raise DeviceError('no camera')\n"
        "verb.run = run\n"
        "sys.argv = ['livepaste', 'devices']\n"
        "sys.exit(cli.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "livepaste: no camera\n")


def test_a_user_error_exits_with_1_in_one_line_and_shows_the_trace_only_when_asked() -> None:
    command = [sys.executable, "-m", "livepaste", "train", "--persona", "nowhere", "--wearer", "nobody", "--to", "c"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr.strip().splitlines()[-1]
        == "livepaste: nowhere: no face set here (no faceset.json); make one with `livepaste extract … --to nowhere`"
    )
    assert "Traceback" not in done.stderr
    assert "Traceback" in subprocess.run([*command, "--verbose"], capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out/1.png"), "out/1.png: No space left on device; free some space and run it again, with --resume if it has that"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("an odd\none"), "an odd one"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_one_line_with_the_file_and_what_helps(
    error: OSError, words: str, monkeypatch, capsys
) -> None:
    def refuses(*_: object, **how: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_app", lambda argv: refuses)
    assert main(["clip"]) == 1
    assert capsys.readouterr().err == f"livepaste: {words}\n"
