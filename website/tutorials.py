"""The tutorials as pages: each is run, unless neither it nor the package changed since."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = (
    "limit_in_ten_lines",
    "is_my_width_enough",
    "my_activation",
    "law_of_my_activation",
    "predict_my_training",
    "a_sweep_on_a_cluster",
)


def pages(root: Path) -> dict[str, Path | str]:
    """Return the tutorials' pages, figures and sources: address → file."""
    made: dict[str, Path | str] = {}
    for name in NAMES:
        source = root / "tutorials" / f"{name}.py"
        folder = root / ".cache" / "tutorials" / f"{name}-{_digest(root, source)}"
        if not (folder / f"{name}.md").exists():
            run(source, folder, root)
        made |= {f"tutorials/{file.name}": file for file in sorted(folder.iterdir())}
        made[f"tutorials/{name}.py"] = source
    return made


def run(source: Path, folder: Path, root: Path) -> None:
    """Run a tutorial in a process of its own and leave its page in the folder.

    Raises:
        RuntimeError: With what it said, if it failed.
    """
    for old in folder.parent.glob(f"{source.stem}-*"):
        shutil.rmtree(old)
    folder.mkdir(parents=True)
    script = root / "website" / "executed.py"
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    environment["PYTHONPATH"] = f"{root}:{environment.get('PYTHONPATH', '')}"
    ran = subprocess.run(
        [sys.executable, script, source, folder / f"{source.stem}.md"],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    if ran.returncode:
        raise RuntimeError(f"{source.name} failed:\n{ran.stderr}")


def _digest(root: Path, source: Path) -> str:
    found = hashlib.sha256(source.read_bytes())
    found.update((root / "website" / "executed.py").read_bytes())
    for path in sorted((root / "ntk_eoc").rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
