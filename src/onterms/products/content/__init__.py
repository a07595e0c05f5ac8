"""Content: message templates with variables, and their approval by channels."""

from onterms.products.content.api import bindings
from onterms.products.content.model import Rendered, Template
from onterms.products.content.service import render, render_for_channel, reviewed, templates
from onterms.products.content.tasks import register

__all__ = ["Rendered", "Template", "bindings", "register", "render", "render_for_channel", "reviewed", "templates"]
