"""`zoomexp train` from a checkout: `python train.py attention=loupe backbone=resnet20`; `--help` lists it all."""

from zoomexp.cli.main import run

if __name__ == "__main__":
    run("train")
