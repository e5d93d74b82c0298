"""How good networks are: on samples, and inside an LES."""

from keras_spectral_tl.reporting.blocks import Section, Table
from keras_spectral_tl.reporting.study import Study

_MEANING = (
    "cc: correlation of predicted and true output, a sample at a time, then averaged; "
    "relative rmse: root of the mean square error over that of the truth."
)


def base_network(study: Study) -> Section:
    """The network before any retraining, on both systems."""
    title = "The base network on both"
    rows = [row for row in study.a_priori if row.get("network") == "base"]
    if not rows:
        text = "The base network was not tested on either system."
        return Section("base", title, (text,))
    table = Table.of_rows("Before any retraining", rows)
    return Section("base", title, (_MEANING,), (table,))


def a_priori(study: Study) -> Section:
    """Every network on samples that it was not trained with."""
    title = "A priori: predictions of given fields"
    if not study.a_priori:
        return Section("a-priori", title, ("No network was tested on samples.",))
    table = Table.of_rows("Figures on samples", list(study.a_priori))
    return Section("a-priori", title, (_MEANING,), (table,))


def a_posteriori(study: Study) -> Section:
    """Networks as the closure of an LES."""
    title = "A posteriori: inside an LES"
    if not study.a_posteriori:
        text = "No network was run inside an LES in this study."
        return Section("a-posteriori", title, (text,))
    rows = list(study.a_posteriori)
    return Section("a-posteriori", title, blocks=(Table.of_rows("LES", rows),))
