"""The package stays small enough to be read: fewer than 6,000 lines that hold code."""

import ast
import io
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "recsys_evo"
QUIET = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source):
    """How many lines of Python source hold code: not blank, no comment, no docstring."""
    held = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in QUIET:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            held.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(held)


def test_blank_lines_comments_and_docstrings_are_not_counted():
    source = '"""One\nTwo"""\n\n# three\nx = [  # four\n    1,\n]\n\n\n'
    source += 'def f():\n    """Five."""\n    return """6\n7"""\n'
    assert code_lines(source) == 6


def test_the_package_is_under_six_thousand_lines_of_code():
    lines = {
        str(path.relative_to(PACKAGE)): code_lines(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
    }
    assert sum(lines.values()) < 6000, sorted(lines.items(), key=lambda pair: -pair[1])[:10]
