"""The `libra` command: one module per verb, dispatched by `main`."""
