"""`python -m openemo` is the command `openemo`."""

import sys

from openemo.cli.main import main

sys.exit(main())
