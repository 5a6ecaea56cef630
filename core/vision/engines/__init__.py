"""How a model runs: precision, runtime, and the gate before int8."""
