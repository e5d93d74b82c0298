"""The transfer experiment: data, base networks, scores, sweeps, analysis, LES."""
