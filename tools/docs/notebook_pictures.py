"""The pictures of docs/notebooks.md: python -m tools.docs.notebook_pictures

Takes those that the browser tests have left in build/pictures, where they open notebooks in JupyterLab:
`python run.py test --full tests/jupyter/browser` makes them anew.
"""

from __future__ import annotations

from tools.docs.gallery import PICTURES, ROOT
from tools.docs.palette_png import png

TAKEN = ROOT / "build/pictures"
NAMES = ("00-stepper", "05-explorer", "07-lab")


def main() -> None:
    for name in (f"{name}-{scheme}.png" for name in NAMES for scheme in ("light", "dark")):
        if not (TAKEN / name).exists():
            raise SystemExit(f"there is no {TAKEN / name}; {(__doc__ or '').splitlines()[-1]}")
        path = PICTURES / f"notebook-{name}"
        path.write_bytes(png((TAKEN / name).read_bytes()))
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
