"""`python -m worker.cli`, for where the console script is not on the path."""

import sys

from worker.cli import main

sys.exit(main())
