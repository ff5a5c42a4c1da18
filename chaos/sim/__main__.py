"""`python -m chaos.sim`."""

from __future__ import annotations

from chaos.sim.run import main

if __name__ == "__main__":
    main()
