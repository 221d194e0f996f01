"""A page in the browser, and an HTTP API: `aac-llm serve`."""
