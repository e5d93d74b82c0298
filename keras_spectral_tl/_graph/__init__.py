"""Structure of a model: its layers and weights, the calls of layers, cuts, copies."""
