"""Contest of arms: their trials, the predictions from these, and the choice."""
