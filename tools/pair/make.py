"""Make the bundled pair from nothing, and measure it: python -m tools.pair.make

Can be stopped and run again: the corpus is built once, trainings go on from their checkpoints.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
CORPUS_CARD = TOOLS.parent / "build/corpus/card.json"
STAGES = (
    ("build_corpus.py",),
    ("train_pair.py", "target", "--steps", "5000"),
    ("own_text.py", "--rounds", "56"),
    ("train_pair.py", "draft", "--steps", "2800"),
    ("train_pair.py", "export"),
    ("manifest.py",),
    ("evaluate_pair.py", "--prompts", "8"),
    ("record_traces.py",),  # and the manifest again
)


def main() -> None:
    for script, *arguments in STAGES:
        if script == "build_corpus.py" and CORPUS_CARD.exists():
            continue
        print(f"--- {script} {' '.join(arguments)}", flush=True)
        done = subprocess.run([sys.executable, TOOLS / script, *arguments])
        if done.returncode:
            sys.exit(f"{script} ended with {done.returncode}; mend what it says, then run this again.")


if __name__ == "__main__":
    main()
