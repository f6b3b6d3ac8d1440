"""`python -m worker.demo`: send real films, wait for their reports through DICOM, and print one table."""

import argparse
import sys
from pathlib import Path

from worker.demo.run import Demo, DemoFailed


def main() -> int:
    """Run the demonstration; 0 when everything came back and the ledger balances."""
    parser = argparse.ArgumentParser(prog="python -m worker.demo", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=Path("demo-data"), metavar="DIR", help="all it makes (demo-data)"
    )
    parser.add_argument("--stay", action="store_true", help="keep everything running until Ctrl-C")
    options = parser.parse_args()
    try:
        return Demo(options.data.absolute(), stay=options.stay).run()
    except DemoFailed as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
