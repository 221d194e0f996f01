"""`python -m ml_clap` is `ml-clap`; so `accelerate launch -m ml_clap train ...` works."""

from ml_clap.cli import main

if __name__ == "__main__":
    main()
