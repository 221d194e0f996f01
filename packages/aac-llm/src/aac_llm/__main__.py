"""`python -m aac_llm` is `aac-llm`; so `accelerate launch -m aac_llm train ...` works."""

from aac_llm.cli import main

if __name__ == "__main__":
    main()
