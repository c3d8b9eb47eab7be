"""`zoomexp runs` from a checkout; `--help` lists what can be typed."""

from zoomexp.cli.main import run

if __name__ == "__main__":
    run("runs")
