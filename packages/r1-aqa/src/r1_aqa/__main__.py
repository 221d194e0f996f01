"""`python -m r1_aqa` is `r1-aqa`; so `accelerate launch -m r1_aqa train grpo ...` works."""

from r1_aqa.cli import main

if __name__ == "__main__":
    main()
