"""The audio LLM and everything that turns sounds and questions into completions."""
