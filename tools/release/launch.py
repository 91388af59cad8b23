"""Where the project lies in public, and what follows from it: badges, links, the first cell on Colab.

The one setting is `Repository` under [project.urls] in pyproject.toml; `python run.py set-origin OWNER/REPO`
writes it. Everything here goes to the release that bears the version's tag, so that notebooks and the wheel
that they install belong together. Without the setting there is no badge, and a sentence says how to set it.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

__all__ = ["ROOT", "Origin", "colab_cell", "notebook_badges", "origin_of", "texts", "version_of"]

ROOT = Path(__file__).resolve().parents[2]
FIRST = "00_start_here"
HOST = "https://github.com/"
MARKED = ("README.md", "docs/launch.md")  # the files that hold badges, between these marks
BEGIN, END = "<!-- launch: made by `python run.py set-origin` -->", "<!-- launch ends -->"
UNSET = (
    "*Badges for Binder and Colab stand here once the repository's public address is known: "
    "`python run.py set-origin OWNER/REPO` makes them, here and in the notebooks.*"
)
# What Colab has and shows its own pages with: an installation must leave it alone.
KEPT = ("torch", "numpy", "ipywidgets", "ipython", "plotly", "anywidget")
PINNED = ("tokenizers", "transformers")  # newer than Colab's: of these the versions that are tested


@dataclass(frozen=True)
class Origin:
    """A public repository, OWNER/REPO, at a version's tag."""

    name: str
    version: str

    @property
    def address(self) -> str:
        return HOST + self.name

    @property
    def tag(self) -> str:
        return f"v{self.version}"

    @property
    def wheel(self) -> str:
        return f"{self.address}/releases/download/{self.tag}/moespac_nb-{self.version}-py3-none-any.whl"

    def binder(self, notebook: str) -> str:
        """JupyterLab on a notebook."""
        place = quote(f"lab/tree/notebooks/{notebook}.ipynb", safe="")
        return f"https://mybinder.org/v2/gh/{self.name}/{self.tag}?urlpath={place}"

    def colab(self, notebook: str) -> str:
        return (
            f"https://colab.research.google.com/github/{self.name}/blob/{self.tag}/notebooks/{notebook}.ipynb"
        )

    def badges(self, notebook: str) -> str:
        """Markdown: both, one beside the other."""
        binder = f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({self.binder(notebook)})"
        picture = "https://colab.research.google.com/assets/colab-badge.svg"
        return f"{binder} [![Open in Colab]({picture})]({self.colab(notebook)})"


def origin_of(root: Path = ROOT) -> Origin | None:
    """The setting, if it is set."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    if address is None:
        return None
    if not address.startswith(HOST):
        raise SystemExit(f"the repository is {address!r}; expected: {HOST}OWNER/REPO")
    return Origin(address.removeprefix(HOST), version_of(root))


def version_of(root: Path = ROOT) -> str:
    """The project's, read and not imported: nothing need be installed."""
    source = (root / "moespac_nb/__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', source, flags=re.M)[0]


def notebook_badges(notebook: str, root: Path = ROOT) -> str | None:
    """The line of badges for a notebook, named without its ending; None while there is no address."""
    origin = origin_of(root)
    return origin.badges(notebook) if origin else None


def colab_cell(root: Path = ROOT) -> str | None:
    """The first code cell: on Colab it installs the release, elsewhere it does nothing. None as above."""
    origin = origin_of(root)
    if origin is None:
        return None
    constraints = (root / "constraints.txt").read_text(encoding="utf-8")
    pins = " ".join(re.findall(rf"^(?:{'|'.join(PINNED)})==.+$", constraints, flags=re.M))
    return f"""\
# On Colab this installs moespac-nb and leaves Colab's own packages as they are; elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    from importlib.metadata import version
    from pathlib import Path
    kept = {" ".join(KEPT)!r}.split()
    Path("kept.txt").write_text("\\n".join(f"{{name}}=={{version(name)}}" for name in kept))
    release = "{origin.wheel}"
    get_ipython().system(f"pip install -q -c kept.txt {pins} 'moespac-nb[exercises] @ {{release}}'")
    from moespac_widgets.base.colab import choose
    choose()"""


def texts(root: Path = ROOT) -> dict[Path, str]:
    """What the files that depend on the address should hold, notebooks apart."""
    origin = origin_of(root)
    made = {}
    for path in (root / name for name in MARKED):
        said = origin.badges(FIRST) if origin else UNSET
        text = path.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            raise SystemExit(f"{path} lacks its marks {BEGIN} and {END}: put them back where badges belong")
        before, _, rest = text.partition(BEGIN)
        made[path] = f"{before}{BEGIN}\n{said}\n{END}{rest.partition(END)[2]}"
    path = root / "CITATION.cff"
    text = re.sub(r"^repository-code: .*\n", "", path.read_text(encoding="utf-8"), flags=re.M)
    line = f'repository-code: "{origin.address}"\n' if origin else ""
    made[path] = re.sub(r"(?m)^(license: .*\n)", lambda found: found[1] + line, text)
    return made
