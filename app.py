"""The dashboard's front door from a clone: `python app.py`. Installed, it is `dapa app`."""

from dapa.ui.front import arguments, main

__all__ = ["arguments", "main"]

if __name__ == "__main__":
    main()
