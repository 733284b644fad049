"""`python -m openemo` is the command `openemo`."""

import sys

from openemo.cli import main

sys.exit(main())
