"""`python -m hala_release` is `hala-release`."""

from hala_release.cli import main

main()
