"""`python -m cht_sync` is `cht-sync`."""

from cht_sync.cli import main

if __name__ == "__main__":
    main()
