"""``python -m crate_mini.cli``, which is how ``torchrun`` starts it."""

import sys

from crate_mini.cli import main

if __name__ == "__main__":
    sys.exit(main())
