"""Writes the golden files below a folder, else here: `python -m envoyconf [FOLDER]`."""

import sys
from pathlib import Path

from envoyconf.golden import golden_files

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for path, text in golden_files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
