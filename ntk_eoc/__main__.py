"""`python -m ntk_eoc` is `ntk-eoc`."""

from ntk_eoc.cli import main

if __name__ == "__main__":  # spawned workers import this module again
    main()
