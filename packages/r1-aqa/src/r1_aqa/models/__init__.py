"""The audio LLM and everything that turns audio and questions into completions."""
