"""Fingerprints: stale when something that is used changes, and only then."""

import textwrap

import pytest

from recsys_evo.fingerprints import fingerprint

SCRIPT = '''
"""What it measures."""

from relied_upon import area

MODULES = ["relied_upon", "further"]
SEEDS = [0, 1, 2]


def run(seed):
    """Return a figure."""
    import numpy as np

    return {"area": area(seed) / 2, "draws": np.arange(2)}
'''

RELIED_UPON = '''
"""Words of a module."""

import math
from further import rounded as short

PI = 3.14
SCALE: float = 1.0
SCALE *= 2


def area(radius):
    """Words of a function."""
    return Circle(radius).area()


class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return short(PI * self.radius**2)


def other(radius):
    return 2 * TAU * radius


TAU = 6.28
print("seen by all")
if PI > 3:
    WIDE = True
'''

FURTHER = "DIGITS = 2\n\n\ndef rounded(x):\n    return round(x, DIGITS)\n\n\nunused = 1\n"


@pytest.fixture
def change(tmp_path, monkeypatch):
    """A function: does the fingerprint change if `old` becomes `new` in one of the files?"""
    monkeypatch.syspath_prepend(tmp_path)
    texts = {"script.py": SCRIPT, "relied_upon.py": RELIED_UPON, "further.py": FURTHER}

    def write(texts):
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        return fingerprint(tmp_path / "script.py")

    def change(name, old, new):
        changed = texts | {name: texts[name].replace(old, new)}
        assert changed != texts
        return write(changed) != write(texts)

    return change


@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        ("Return a figure.", "Return one figure.", False),
        ("What it measures.", "It measures.", False),
        ("    import numpy as np\n", "    # why\n\n    import numpy as np\n", False),
        ("[0, 1, 2]", "[0, 1, 2, 3]", False),
        ('"area"', "'area'", False),
        ('"area"', '"AREA"', True),
        ("/ 2", "* 2", True),
        ("/ 2", "/ 2.0", True),
        (', "further"', "", True),
    ],
)
def test_the_script(change, old, new, stale):
    assert change("script.py", old, new) == stale


@pytest.mark.parametrize(
    ("name", "old", "new", "stale"),
    [
        ("relied_upon.py", "Words", "More words", False),
        ("relied_upon.py", "PI * self", "PI  *  self", False),
        ("relied_upon.py", "2 * TAU", "3 * TAU", False),  # of a function that is not used
        ("relied_upon.py", "6.28", "6.3", False),
        ("relied_upon.py", "SCALE *= 2", "SCALE *= 3", False),
        ("relied_upon.py", "import math", "import math, numpy as np", False),  # the script's np
        ("relied_upon.py", "Circle(radius)", "Circle(2 * radius)", True),  # used by the script
        ("relied_upon.py", "**2", "**3", True),  # used by what the script uses
        ("relied_upon.py", "3.14", "3.1416", True),
        ("relied_upon.py", "rounded as short", "truncated as short", True),
        ("relied_upon.py", "seen by all", "heard by all", True),  # binds no name
        ("relied_upon.py", "WIDE = True", "WIDE = False", True),
        ("further.py", "DIGITS = 2", "DIGITS = 3", True),  # used under another name, elsewhere
        ("further.py", "unused = 1", "unused = 2", False),
    ],
)
def test_the_modules(change, name, old, new, stale):
    assert change(name, old, new) == stale


def test_one_tree_is_the_same_everywhere(tmp_path):
    """Frozen: a change here makes every stored result stale."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""\
            MODULES = []
            SEEDS = [1]
            class A(B, metaclass=C):
                x: int = f"{1:>{2}} and {None!r}"
                async def f(self, /, a=0, *b, c, **d):
                    match a:
                        case {"k": [1, *_]} if not b: return lambda: (yield)
                    with open("f") as g, h: del g[1:2, ...]
        """)
    )
    assert fingerprint(script)[:16] == "71ca95dacaf21f6c"
