"""``python -m crate_mini``, for where the command ``crate-mini`` is not on the path."""

import sys

from crate_mini.cli import main

if __name__ == "__main__":
    sys.exit(main())
