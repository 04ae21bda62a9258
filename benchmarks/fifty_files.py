"""Infer fifty files of which five are bad, each in its own way, and show what the user sees.

python benchmarks/fifty_files.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import uproot

from xec_deploy.bundle import shipped_bundle
from xec_deploy.events.repack import repack
from xec_deploy.simulation import SimulationConfig, write_simulation

FILES = 50
FIRST_RUN = 430000
DAMAGED = 7


def make_files(folder: Path, events: int) -> Path:
    """Write good files and bad ones, and a run list of all."""
    names = [f"run{FIRST_RUN + number}.root" for number in range(FILES)]
    for number, name in enumerate(names):
        config = SimulationConfig(seed=number, first_run=FIRST_RUN + number)
        write_simulation(folder / name, config, events, threads=1)
    spoil(folder / names[DAMAGED])
    content = (folder / names[16]).read_bytes()
    (folder / names[16]).write_bytes(content[: len(content) // 2])
    with uproot.recreate(folder / names[25]) as file:
        tree = file.mktree("tree", {"npho": ("f4", (4092,)), "relative_time": ("f4", (4092,))})
        tree.extend({name: np.zeros((3, 4092), np.float32) for name in ("npho", "relative_time")})
    (folder / names[34]).write_text("<html>404 Not Found: the download went wrong</html>\n")
    (folder / names[43]).unlink()
    runs = folder / "runs.txt"
    runs.write_text("".join(f"{FIRST_RUN + n} {name}\n" for n, name in enumerate(names)))
    return runs


def spoil(path: Path) -> None:
    """Flip bits in the middle of the compressed photons.

    What LZ4 cannot compress it leaves without a checksum, and damage there goes unnoticed.
    """
    plain = path.rename(path.with_suffix(".plain"))
    repack(str(plain), path, codec="ZLIB")
    plain.unlink()
    with uproot.open({path: "tree"}) as tree:
        key = tree["npho"].basket_key(0)
        place = key.data_cursor.index + (key.fNbytes - key.fKeylen) // 2
    content = np.fromfile(path, np.uint8)
    content[place : place + 40] ^= 255
    content.tofile(path)


def main() -> int:
    """Run the command and print what it prints, and its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        runs = make_files(Path(name), arguments.events)
        command = [
            *(str(Path(sys.executable).parent / "xec-deploy"), "infer", str(shipped_bundle())),
            *(f"@{runs.name}", "-o", "results"),
        ]
        done = subprocess.run(command, cwd=name, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        print(f"$ xec-deploy infer compact.xec @{runs.name} -o results")
        print(done.stderr + done.stdout, end="")
        print(f"$ echo $?\n{done.returncode}")
        left = [path.name for path in (Path(name) / "results").iterdir() if "part" in path.name]
        print(f"results: {len(list((Path(name) / 'results').glob('*.root')))}, unfinished: {left}")
    return 0 if done.returncode == 3 else 1


if __name__ == "__main__":
    sys.exit(main())
