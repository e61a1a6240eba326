"""Execute the chapters and write them back, with the outputs that the tests compare."""

import sys

import nbformat
from chapters import chapters, each, execute, parser
from strip import strip


def main() -> None:
    options = parser(__doc__).parse_args()
    for path in each(chapters(only=options.only)):
        notebook = nbformat.read(path, 4)
        run = execute(path, notebook)
        if run.trouble:
            sys.exit(f"FAILED\n\n{run.trouble}")
        strip(notebook)
        path.write_text(nbformat.writes(notebook) + "\n", "utf-8", newline="\n")
        print(f"{run.seconds:6.1f} s")


if __name__ == "__main__":
    main()
