"""Structure of a model: its layers and weights, the calls of its layers, and cuts."""
