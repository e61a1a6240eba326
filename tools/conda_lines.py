"""Put the pip lines of environment.yml through pip's resolver, as conda will: a dry run.

Needs the network. What is resolved is what a fresh environment would be given.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    (lines,) = (part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    # conda writes the lines to a file beside environment.yml, so that its paths hold
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=ROOT) as requirements:
        requirements.write("\n".join(lines) + "\n")
        requirements.flush()
        pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        done = subprocess.run([*pip, "-qq", "-r", requirements.name], check=False)
    if done.returncode:
        sys.exit("pip does not take the lines of environment.yml: see above.")
    print("environment.yml: pip takes its lines")


if __name__ == "__main__":
    main()
