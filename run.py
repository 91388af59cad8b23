#!/usr/bin/env python3
"""Sets up .venv beside this file and uses it. Needs Python 3.11 or newer, and nothing else.

    python run.py lab  [--no-browser] [-- JUPYTERLAB ARGUMENTS]   opens the first notebook
    python run.py test [--full] [PYTEST ARGUMENTS]                runs the tests
    python run.py class-kit DIR                                   makes a folder to teach from offline
    python run.py set-origin OWNER/REPO                           says where the project lies in public
    python run.py book                                            builds notebooks and docs as a site
    python run.py slides [03 05 ...]                              makes slides of notebooks
    python run.py notebooks [--solutions DIR]                     makes the notebooks, or solved ones, anew

Can be run again at any time: what is done is not done twice, and an interrupted installation goes on.
"""

import sys

OLDEST = (3, 11)


def too_old(version):  # this file must be readable to old Pythons as far as here, and parse as a whole
    if tuple(version[:2]) < OLDEST:
        given, wanted = (".".join(str(part) for part in v[:2]) for v in (version, OLDEST))
        return (
            f"This is Python {given}; moespac-nb needs {wanted} or newer. Install one from python.org or "
            f"your system's packages, then start this file with it: python{wanted} run.py lab"
        )
    return None


if too_old(sys.version_info):
    sys.exit(too_old(sys.version_info))

import argparse
import contextlib
import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / ".moespac-stamp"
LOCK = ROOT / ".run.lock"
# What each needs to be installed, and where it is.
TOOLS = {
    "class-kit": ("lab", "tools.release.class_kit"),
    "set-origin": ("lab", "tools.release.set_origin"),
    "book": ("test", "tools.docs.book"),
    "slides": ("test", "tools.docs.slides"),
    "notebooks": ("lab", "tools.docs.notebooks"),
}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own index of builds without CUDA
NEEDED_BYTES = {False: 3 * 10**9, True: 10 * 10**9}  # by whether torch comes with CUDA


def say(message):
    print(f"run.py: {message}", flush=True)


def fingerprint():
    """What an installation depends on: a change of any of these makes it stale."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([*parts, repr((str(ROOT), sys.version_info[:2])).encode()])).hexdigest()


def is_ready(mode):
    """Whether the last installation finished, and was for this mode; the tests' includes the lab's."""
    stamped = STAMP.read_text(encoding="utf-8").split() if STAMP.exists() else []
    return stamped in ([fingerprint(), mode], [fingerprint(), "test"]) and PYTHON.exists()


def is_sound():
    """Whether .venv has a Python that starts, is new enough and has pip, and no half-written package."""
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        starts = subprocess.run([PYTHON, "-c", check], capture_output=True).returncode == 0
    except OSError:
        return False
    # pip writes a package's RECORD last, and takes one that was cut off before it for installed.
    return starts and all((found / "RECORD").exists() for found in VENV.glob("**/site-packages/*.dist-info"))


def torch_choices(pin, cuda, linux, cpu_index_answers):
    """pip's arguments for torch, best first. Outside Linux the default index itself has the CPU build."""
    default = ["--no-deps", pin]
    if linux and not cuda and cpu_index_answers:
        return [["--no-deps", "--only-binary", ":all:", "--index-url", CPU_INDEX, pin], default]
    return [default]


def answers(url, timeout_s=2):
    try:
        with urllib.request.urlopen(url, timeout=timeout_s):
            return True
    except OSError:
        return False


def pinned(name):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line.strip() for line in lines if line.startswith(f"{name}=="))


REASONS = (
    (("No space left on device", "Errno 28", "not enough space on the disk"),
     "The disk is full (pip also needs room in the temporary folder; TMPDIR moves it)."),
    (("Permission denied", "Read-only file system", "Access is denied"),
     "A file or folder cannot be written. Is a program still using .venv, or is the folder read-only?"),
    (("Failed to establish a new connection", "NewConnectionError", "name resolution", "getaddrinfo failed",
      "Read timed out", "ConnectTimeout", "Connection refused", "Network is unreachable", "ProxyError"),
     "The package index cannot be reached. Is there a network, or does it need a proxy (HTTPS_PROXY)?"),
    (("No matching distribution found", "Could not find a version"),
     "No build of a package was found: is the index in reach, and has it one for this Python and system?"),
)  # fmt: skip


AGAIN = " Run the same command again then: it goes on from there."


def explain(output):
    """What a person can do about a pip that failed, from what it printed on stderr."""
    found = (reason for signs, reason in REASONS if any(sign in output for sign in signs))
    return next(found, "pip's own message is above.") + AGAIN


def pip(*arguments, command="install", python=None):
    """Runs pip with its progress on the screen; returns its exit code and what it wrote on stderr."""
    call = [python or PYTHON, "-m", "pip", command, "--disable-pip-version-check", *arguments]
    with subprocess.Popen(call, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            sys.stderr.write(line)
    return process.returncode, "".join(lines)


@contextlib.contextmanager
def locked():
    """One installation at a time. The system drops the lock with its process, so none is ever stale."""
    with LOCK.open("a+") as file:
        try:
            if os.name == "nt":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                sys.exit("Another run.py is installing here. Wait until it has finished, then try again.")
        yield  # on a file system without locks there is nobody to wait for


def make_environment(cuda):
    if VENV.exists() and not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()):
        sys.exit(f"{VENV} is in the way and is no Python environment: move it, then run this again.")
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        sys.exit("This Python lacks its venv module. On Debian or Ubuntu: sudo apt-get install python3-venv")
    free, needed = shutil.disk_usage(ROOT).free, NEEDED_BYTES[cuda]
    if free < needed:
        sys.exit(f"{free / 1e9:.1f} GB free at {ROOT}; the environment needs about {needed / 1e9:.0f} GB.")
    say(f"making the environment {VENV}")
    # The base Python: this one may itself live in the .venv that is remade.
    base = getattr(sys, "_base_executable", None) or sys.executable
    if subprocess.run([base, "-m", "venv", "--clear", VENV]).returncode:
        sys.exit("Python could not make the environment; its message is above.")


def install(mode):
    cuda = shutil.which("nvidia-smi") is not None
    if not is_sound():
        make_environment(cuda)
    STAMP.unlink(missing_ok=True)
    pin = pinned("torch")
    say(f"installing {pin} {'with CUDA' if cuda else 'for the CPU'}: the largest part, some minutes")
    if cuda and os.name == "nt":
        say("the default index has no CUDA build for Windows; pytorch.org says how to add one later")
    linux = sys.platform == "linux"
    for choice in torch_choices(pin, cuda, linux, linux and not cuda and answers(CPU_INDEX + "/torch/")):
        code, output = pip(*choice)
        if code == 0:
            break
    else:
        sys.exit(explain(output))
    say(f"installing moespac-nb and what it needs for '{mode}'")
    code, output = pip("--constraint", "constraints.txt", "--editable", f".[{mode}]")
    if code:
        sys.exit(explain(output))
    partial = STAMP.with_suffix(".partial")
    partial.write_text(f"{fingerprint()} {mode}\n", encoding="utf-8")
    os.replace(partial, STAMP)
    say("the environment is ready")


def set_up(mode):
    if is_ready(mode):
        return
    try:
        with locked():
            install(mode)
    except OSError as error:
        sys.exit(f"Cannot write in {ROOT}: {explain(str(error))}")


def hand_over(command, cwd=ROOT, path=None):
    """Runs the command to its end: Ctrl-C goes to it, and it decides. path: where it finds its modules."""
    process = subprocess.Popen(command, cwd=cwd, env=os.environ | ({"PYTHONPATH": str(path)} if path else {}))
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            return process.wait()


def main(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    modes = parser.add_subparsers(dest="mode", required=True, metavar="|".join(["lab", "test", *TOOLS]))
    lab = modes.add_parser("lab", help="open JupyterLab on the first notebook; arguments after -- go to it")
    lab.add_argument("--no-browser", action="store_true", help="start the server only, and print its address")
    test = modes.add_parser("test", help="run the tests; further arguments go to pytest", allow_abbrev=False)
    test.add_argument("--full", action="store_true", help="the long matrices too")
    for name in TOOLS:
        modes.add_parser(name, help=f"python run.py {name} --help says more", add_help=False)
    options, rest = parser.parse_known_args(argv)
    rest = [argument for argument in rest if argument != "--"]
    extras, tool = TOOLS.get(options.mode, (options.mode, None))
    set_up(extras)
    if tool:
        return hand_over([PYTHON, "-m", tool, *rest], cwd=None, path=ROOT)
    if options.mode == "test":
        chosen = ["--full"] * options.full + rest
        return hand_over([PYTHON, "-m", "pytest", "--durations=15", *chosen])
    as_root = getattr(os, "geteuid", lambda: 1)() == 0
    extra = ["--no-browser"] * options.no_browser + ["--allow-root"] * as_root
    say("opening JupyterLab; Ctrl-C here ends it")
    return hand_over([PYTHON, "-m", "jupyterlab", "notebooks/00_start_here.ipynb", *extra, *rest])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted." + AGAIN)
