"""``python -m crate_mini.cli``, which is how ``torchrun`` starts it."""

import sys

from crate_mini.cli import main

sys.exit(main())
