"""The command: python run.py --task unida --source office --target dslr."""

import sys

if __name__ == "__main__":
    try:
        from uda.cli import main  # takes seconds
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
