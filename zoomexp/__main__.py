"""`python -m zoomexp COMMAND ...`."""

from zoomexp.cli.main import main

main()
