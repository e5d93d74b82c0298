"""Trained base networks with the target samples they are to be retrained on.

from model_zoo import load  # with examples/ on the path
entry = load("mini_k25_to_k4")
scores = kst.score_layers(entry.model, entry.base, entry.target)
result = kst.retrain(entry.model, entry.target, scores.ranking[0])
"""

from model_zoo.entries import ZooEntry, entry_names, load

__all__ = ["ZooEntry", "entry_names", "load"]
