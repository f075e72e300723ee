"""`python -m conda2wheel`."""

from conda2wheel.cli import main

main()
