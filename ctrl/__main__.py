"""`python -m ctrl`: the command line."""

from ctrl.cli import main

if __name__ == "__main__":
    main()
