#!/usr/bin/env python3
"""Install moespac-nb from this folder, without a network, try it, and open the first notebook.

python check.py              can be run again at any time: what is done is not done twice
python check.py --no-lab     installs and tries only
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
STAMP = VENV / ".kit-stamp"
NEEDED_BYTES = 3 * 10**9


def say(message):
    print(f"check.py: {message}", flush=True)


def problems(kit):
    """What is wrong with this Python, this machine or this copy of the kit, in sentences."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if python != kit["python"]:
        wanted = kit["python"]
        return [f"This is Python {python}; the kit is for Python {wanted}: run python{wanted} check.py"]
    machine = f"{platform.system()} {platform.machine()}"
    if machine != kit["machine"]:
        return [f"This is {machine}; the kit is for {kit['machine']}. Make one on a machine like this one."]
    found = []
    for name, known in kit["wheels"].items():
        path = HERE / "wheels" / name
        if not path.is_file():
            found.append(f"wheels/{name} is missing: copy the whole folder again.")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != known:
            found.append(f"wheels/{name} is damaged: copy it again.")
    return found


def install(kit):
    stamp = json.dumps([str(HERE), kit])
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == stamp:
        return
    if not os.access(HERE, os.W_OK):
        sys.exit(f"Nothing can be written in {HERE}: copy the kit to a disk of this machine first.")
    free = shutil.disk_usage(HERE).free
    if free < NEEDED_BYTES:
        sys.exit(f"{free / 1e9:.1f} GB free at {HERE}; the installation needs {NEEDED_BYTES / 1e9:.0f} GB.")
    say(f"installing into {VENV}, some minutes; no network is used")
    base = getattr(sys, "_base_executable", None) or sys.executable
    run([base, "-m", "venv", "--clear", VENV], "This Python could not make an environment: has it venv?")
    quiet = ["--disable-pip-version-check", "--quiet"]
    local = ["--no-index", "--find-links", HERE / "wheels"]
    run(
        [
            BIN / "python",
            "-m",
            "pip",
            "--isolated",
            "install",
            *quiet,
            *local,
            f"moespac-nb[lab]=={kit['version']}",
        ],
        "The installation failed; pip's words are above. Is the disk full? Then run check.py again.",
    )
    STAMP.write_text(stamp, encoding="utf-8")


def run(command, otherwise):
    if subprocess.run([str(part) for part in command], cwd=HERE).returncode:
        sys.exit(otherwise)


def try_it():
    """Decode eight tokens with the bundled pair."""
    command = [BIN / "moespac", "decode", "--domain", "math", "--max-new-tokens", "8", "--json"]
    done = subprocess.run([str(part) for part in command], cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"It does not run:\n{done.stderr}")
    figures = json.loads(done.stdout)
    if not figures["lossless_checked"]:
        sys.exit("It runs, but the text is not the target's own: please report this and the machine's make.")
    say(f"it works: {figures['new_tokens']} tokens decoded, and the text is the target's own")


def main(arguments):
    if set(arguments) - {"--no-lab"}:
        sys.exit(__doc__)
    kit = json.loads((HERE / "kit.json").read_text(encoding="utf-8"))
    found = problems(kit)
    if found:
        sys.exit("\n".join(found))
    install(kit)
    try_it()
    if "--no-lab" in arguments:
        return 0
    say("opening JupyterLab; Ctrl-C here ends it. If no browser opens, take the address that it prints.")
    as_root = ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    lab = [str(BIN / "python"), "-m", "jupyterlab", "notebooks/00_start_here.ipynb", *as_root]
    return subprocess.run(lab, cwd=HERE).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Run check.py again: an installation that was not through begins anew.")
    except OSError as problem:
        sys.exit(f"{problem}. Is the disk full, or can the folder not be written?")
