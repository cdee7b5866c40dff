"""`python -m launcher`: the `launch` script, for those who know the interpreter and not the PATH."""

from launcher.cli import main

if __name__ == "__main__":
    main()
