"""Pages that load nothing from the network: MathJax comes from its package at build time."""

import shutil
from importlib.metadata import distribution
from pathlib import Path

# tex-chtml.js and what it may load while a page is read: fonts, TeX extensions, and what its
# menu offers readers who listen to formulas
WANTED = (
    "tex-chtml.js",
    "output/chtml/fonts",
    "input/tex/extensions",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
    "sre/mathmaps/nemeth.json",
)


def bring_mathjax(app, exception):
    """Copy MathJax into the built pages, once."""
    if exception or app.builder.format != "html":
        return
    carrier = distribution("sphinx-mathjax-offline")
    source = Path(
        carrier.locate_file("sphinx-mathjax-offline/static/mathjax")
    )
    target = Path(app.outdir, "_static", "mathjax")
    for name in WANTED:
        if (source / name).is_dir():
            shutil.copytree(
                source / name, target / name, dirs_exist_ok=True
            )
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)


def setup(app):
    app.connect("build-finished", bring_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
