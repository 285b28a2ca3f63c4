"""`python -m dapa.bench`: see `command`."""

from dapa.bench.command import main

raise SystemExit(main())
