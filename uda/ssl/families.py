"""The families of random views by the names that a recipe's `views.name` may be."""

from uda.errors import unknown_name
from uda.ssl.differentiable import Differentiable
from uda.ssl.medical_views import Histology, XRay
from uda.ssl.random_views import Asymmetric, Contrast, Glyphs, Weak

Family = type[Contrast] | type[Differentiable] | type[Glyphs] | type[Weak] | type[Histology] | type[XRay]

RANDOM_VIEWS: dict[str, Family] = {
    "asymmetric": Asymmetric,
    "contrast": Contrast,
    "differentiable": Differentiable,
    "glyph": Glyphs,
    "histology": Histology,
    "natural": Contrast,  # photographs: the name beside "histology" and "xray"
    "weak": Weak,
    "xray": XRay,
}


def find_random_views(name: str) -> Family:
    """Return the family of that name; UserError with the nearest ones otherwise."""
    if name not in RANDOM_VIEWS:
        raise unknown_name("views", name, RANDOM_VIEWS, "they are what a recipe's `views.name` may be")
    return RANDOM_VIEWS[name]
