"""Trained base networks with the target samples they are to be retrained on.

from model_zoo import load_entry  # with examples/ on the path
entry = load_entry("mini_k25_to_k4")
scores = kst.score_layers(entry.model, entry.base, entry.target)
result = kst.retrain(entry.model, entry.target, scores.ranking[0])
"""

from model_zoo.entries import ZooEntry, entry_names, load_entry

__all__ = ["ZooEntry", "entry_names", "load_entry"]
