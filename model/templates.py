"""The templates of the reports, which lie in ``model/report``."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template


def template(name: str) -> Template:
    """Return a template by its file's name; it may include the others."""
    # A manifest's names of sources and files are text, never markup; a missing value is an error.
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_read))
    return environment.get_template(name)


def _read(name: str) -> str:
    return (files("model") / "report" / name).read_text("utf-8")
