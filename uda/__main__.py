"""python -m uda: the same command as run.py."""

import sys

from uda.cli import main

if __name__ == "__main__":
    sys.exit(main())
