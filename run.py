"""The command: python run.py --task unida --source office --target dslr."""

import sys

from uda.cli import main

if __name__ == "__main__":
    sys.exit(main())
