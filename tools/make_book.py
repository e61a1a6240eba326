"""Execute the chapters whose outputs are not up to date, then build the pages.

An executed chapter is kept in jupyter-cache, where MyST-NB finds it by its code cells. That
cache knows nothing of what the cells import and read, so it is thrown away, and the pages with
it, whenever the fingerprint of those things changes.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import yaml
from chapters import ROOT, chapters, each, execute, parser
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from pages import outside

from recsys_evo.machine import machine, versions


def data_folder(root: Path) -> Path:
    """Return where the chapters look first for real logs."""
    return Path(os.environ.get("RECSYS_EVO_DATA") or root.parent / "shared" / "data")


def fingerprint(root: Path) -> str:
    """Return a digest of all that a chapter's outputs depend on, but for its own cells."""
    digest = hashlib.sha256(platform.python_version().encode())
    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("RECSYS_EVO_", "TF_", "KERAS_"))
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())

    read = [root / "requirements.lock"]
    kinds = (".py", ".toml", ".csv")
    read += (p for p in (root / "recsys_evo").rglob("*") if p.suffix in kinds)
    read += (path for path in (root / "book" / "results").rglob("*") if path.is_file())
    for path in sorted(read):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())

    # real logs are large: their names, sizes and times will do
    for path in sorted(data_folder(root).rglob("*")):
        if path.is_file():
            stat = path.stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def forget_stale(build: Path, state: dict) -> None:
    """Throw away what was made under another state; ``build`` is ``_build``."""
    record = build / "state.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    if known.get("fingerprint") != state["fingerprint"]:
        shutil.rmtree(build / ".jupyter_cache", ignore_errors=True)
    if known != state:
        # Sphinx would reuse a page whose own source is unchanged
        shutil.rmtree(build / ".doctrees", ignore_errors=True)
    build.mkdir(exist_ok=True)
    record.write_text(json.dumps(state))


# TensorFlow logs that it found no GPU, whatever its log level
TENSORFLOW_LOG = re.compile(r"[IWE]0000 |WARNING: All log messages before absl")


def noise(notebook: nbformat.NotebookNode) -> list[tuple[int, str]]:
    """Return what the pages leave out: the cell's number and the last line it wrote to stderr."""
    out = []
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                lines = [x for x in output.text.splitlines() if x.strip()]
                lines = [x for x in lines if not TENSORFLOW_LOG.match(x)]
                out += [(number, lines[-1])] if lines else []
    return out


def bring_up_to_date(root: Path, only: str | None) -> list[Path]:
    """Execute the chosen chapters that are not in the cache; return those that are in no cache.

    What the book's page on its own status shows goes to ``_build/status.json``.
    """
    cache = get_cache(root / "_build" / ".jupyter_cache")

    def known(path):
        try:
            return cache.match_cache_notebook(nbformat.read(path, 4)).data
        except KeyError:
            return None

    failures = []
    for path in each(chapters(root, only)):
        if known(path):
            print("unchanged")
            continue
        notebook = nbformat.read(path, 4)
        run = execute(path, notebook)
        if run.trouble:
            print("FAILED")
            failures.append(run.trouble)
            continue
        facts = {"execution_seconds": run.seconds, "memory": run.memory, "claims": run.claims}
        bundle = CacheBundleIn(notebook, str(path), data=facts)
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
        print(f"{run.seconds:6.1f} s")
        for number, line in noise(notebook):
            print(f"      cell {number} writes to stderr: {line}")
    if failures:
        sys.exit("\n" + "\n\n".join(failures))
    facts = {path.stem: known(path) for path in chapters(root)}
    status = {"versions": versions(), "machine": machine(), "chapters": facts}
    (root / "_build" / "status.json").write_text(json.dumps(status), "utf-8")
    return [path for path in chapters(root) if not facts[path.stem]]


def configuration(root: Path, unexecuted: list[Path]) -> Path:
    """Return the configuration to build with: a copy of ``_config.yml`` if chapters stay bare."""
    source = root / "_config.yml"
    if not unexecuted:
        return source
    config = yaml.safe_load(source.read_text("utf-8"))
    config["execute"]["exclude_patterns"] = [path.name for path in unexecuted]
    # only an executed notebook knows how its cells are to be coloured, and has figures
    quiet = ["myst.domains", "myst-nb.lexer", "ref.numref"]
    config["sphinx"]["config"]["suppress_warnings"] = quiet
    local = config["sphinx"]["local_extensions"]
    for name, folder in local.items():
        local[name] = str(root / folder)
    out = root / "_build" / "_config.yml"
    out.write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    return out


def pack(root: Path, archive: Path) -> None:
    """Put what it takes to run the book beside its pages, for those who have only these."""
    folders = ("benchmarks", "book", "recsys_evo", "tests", "tools")
    files = [path for path in root.iterdir() if path.is_file()]
    files += (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    passing = {"__pycache__", ".ipynb_checkpoints", ".git"}  # a worktree's .git is a file
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(files):
            inside = path.relative_to(root)
            if not passing.intersection(inside.parts):
                packed.write(path, Path(archive.stem, inside))


def main() -> None:
    command = parser(__doc__.splitlines()[0])
    command.add_argument("--root", type=Path, default=ROOT, help="the book's checkout")
    options = command.parse_args()
    root = options.root.resolve()

    started = time.perf_counter()
    forget_stale(root / "_build", {"fingerprint": fingerprint(root), "only": options.only})
    bare = bring_up_to_date(root, options.only)
    print("Building the pages", flush=True)
    jupyter_book = shutil.which("jupyter-book", path=Path(sys.executable).parent)
    build = [jupyter_book, "build", "book"]
    build += ["--config", str(configuration(root, bare)), "--path-output", "."]
    build += ["-W", "-n", "--keep-going", "-q"]
    # warnings come on stderr at once; the rest is of interest only after a failure
    done = subprocess.run(build, cwd=root, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}\nThe pages were not built without a warning: see above.")
    if strangers := outside(root / "_build" / "html"):
        sys.exit("Pages must load nothing from the network:\n" + "\n".join(strangers))
    pack(root, root / "_build" / "html" / "how-user-behaviour-evolves.zip")
    if bare:
        print("Shown without outputs: " + ", ".join(path.stem for path in bare))
    print(f"{root / '_build/html/index.html'} after {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
