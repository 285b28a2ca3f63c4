"""`python -m dapa COMMAND`."""

from dapa.cli import main

if __name__ == "__main__":
    main()
