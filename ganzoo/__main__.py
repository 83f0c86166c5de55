"""``python -m ganzoo``, for torchrun."""

from ganzoo.cli import main

if __name__ == "__main__":
    main()
