"""Ask a model in the browser, and over HTTP."""
