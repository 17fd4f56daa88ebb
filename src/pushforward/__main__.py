"""`python -m pushforward` is `pushforward`, also under torchrun."""

import sys

from pushforward.cli import main

if __name__ == "__main__":
    sys.exit(main())
