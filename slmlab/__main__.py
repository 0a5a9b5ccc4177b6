"""``python -m slmlab``."""

from slmlab.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
