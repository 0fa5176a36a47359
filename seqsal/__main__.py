"""`python -m seqsal` is the `seqsal` command."""

from seqsal.cli import main

if __name__ == "__main__":
    main()
