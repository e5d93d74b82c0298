"""Contest of arms: their trials, what follows from them, and the choice."""
