"""The book's page on its own status: what the last build measured, as tables.

    ```{status} chapters          or: undecided, machine
    heading | heading | …
    ```

The headings stand on the page, so that they can be translated; the figures come from
`_build/status.json`, which `tools/make_book.py` writes when it has executed the chapters.
"""

import json
from pathlib import Path

import yaml
from sphinx.util.docutils import SphinxDirective

NONE = "–"


def chapters(status):
    """A row a chapter: name, seconds, peak memory, claims by kind and verdict."""
    for name, facts in status["chapters"].items():
        if not facts:
            yield [name] + [NONE] * 6
            continue
        claims = facts["claims"]
        counts = [
            sum(
                c["kind"] == kind and c["verdict"] == verdict
                for c in claims
            )
            for kind in ("live", "stored")
            for verdict in ("holds", "undecided")
        ]
        memory = facts["memory"]
        yield [
            name,
            f"{facts['execution_seconds']:.0f}",
            f"{memory:.0f}" if memory else NONE,
            *counts,
        ]


def undecided(status):
    """A row for each claim that this build could not decide.

    A statement that begins with … goes on from the one before; here it stands alone, so it gets
    the beginning back.
    """
    for name, facts in status["chapters"].items():
        head = ""
        for claim in facts["claims"] if facts else ():
            statement = claim["statement"]
            if statement.startswith("…"):
                statement = f"{head} {statement}"
            else:
                head = statement
            if claim["verdict"] == "undecided":
                low, high = (
                    f"{claim[end]:.4g}" for end in ("low", "high")
                )
                sign = {"at least": "≥", "at most": "≤"}[claim["bound"]]
                yield [
                    name,
                    statement.replace("|", r"\|"),
                    f"{sign} {claim['margin']:.4g}",
                    f"{low} to {high}",
                ]


def machine(status):
    """A row for each thing that the figures depend on."""
    yield from status["machine"].items()
    yield from status["versions"].items()


def numbers(app):
    """The number of each chapter in a numbered part of the table of contents, with a dot."""
    toc = Path(app.srcdir) / app.config.external_toc_path
    parts = yaml.safe_load(toc.read_text("utf-8"))["parts"]
    files = [
        c["file"]
        for p in parts
        if p.get("numbered")
        for c in p["chapters"]
    ]
    return {name: f"{n}." for n, name in enumerate(files, start=1)}


class Status(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self):
        path = Path(self.env.app.outdir).parent / "status.json"
        self.env.note_dependency(str(path))
        read = {
            "chapters": chapters,
            "undecided": undecided,
            "machine": machine,
        }
        rows = read[self.arguments[0]](
            json.loads(path.read_text("utf-8"))
        )
        number = numbers(self.env.app)
        # a draft that is not in the table of contents has no page to go to
        pages = self.env.found_docs
        rows = (
            [f"{number.get(first, '')} []({first})", *rest]
            if first in pages
            else [first, *rest]
            for first, *rest in rows
        )
        head = self.content[0].split("|")
        table = [head, ["---"] * len(head), *rows]
        text = "\n".join(
            f"| {' | '.join(map(str, row))} |" for row in table
        )
        return self.parse_text_to_nodes(text)


def setup(app):
    app.add_directive("status", Status)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
