"""The solver on JAX: the same flows, schemes and forcings, on an accelerator."""
