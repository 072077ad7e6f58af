"""What the tutorials share: their options, and where their pictures go."""

from __future__ import annotations

import argparse
import io
import pathlib
import sys

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent

# A notebook shows its pictures itself; a program only writes them, and needs no screen for that.
if "ipykernel" not in sys.modules:
    matplotlib.use("Agg")


def options(description: str) -> argparse.Namespace:
    """Returns `short` and `output`, the options of every tutorial; makes the output directory."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--short", action="store_true", help="a few seconds of training, to try the program out"
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=HERE / "output",
        metavar="DIR",
        help="where pictures and models are written (default: %(default)s)",
    )
    # A notebook's kernel has arguments of its own on the command line.
    arguments, unknown = parser.parse_known_args()
    if unknown and "ipykernel" not in sys.modules:
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    return arguments


def save(figure: Figure, path: pathlib.Path, *, palette: bool = False) -> None:
    """Writes a picture and says where; a palette makes it small where no colour shades smoothly."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    picture = Image.open(drawn).convert("RGB")
    if palette:
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    print(f"picture written to {path}")
